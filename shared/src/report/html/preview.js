// The page of a preview: what happens to which images, why others are kept, and when they go.

// The results, and what keeps images, in the order of the bars: the class of the stylesheet, and the words.
const RESULTS = { expire: 'Expire', archive: 'Move to the archive', stay: 'Kept' };
const HOLDERS = {
  'in use': ['held', 'In use'],
  keep: ['keep', 'Kept by name'],
  rule: ['stay', 'A rule keeps them'],
  index: ['index', 'Part of an image index'],
  subject: ['subject', 'About an image that is kept'],
  'no rule': ['none', 'No rule selects them'],
};
// What is rare.
const OTHERS = ['none', 'Other'];
const HORIZONS = [7, 30, 90, 365];

const rows = [];
const repositories = data.repositories.map(([name, at, policy, images]) => {
  const repository = { name, at, policy: data.policies[policy], base: rows.length };
  for (const [digest, tags, age, size, group, reason, due, pass] of images) {
    rows.push({
      repository,
      digest: digest.includes(':') ? digest : `sha256:${digest}`,
      tags: typeof tags === 'string' ? [tags] : tags,
      at: at + age * 1000,
      size,
      group: data.groups[group],
      reason,
      // An array is a move to the archive.
      due: due === undefined || due === null ? undefined : at + (Array.isArray(due) ? due[0] : due) * 1000,
      moves: Array.isArray(due),
      pass,
      children: 0,
      below: 0,
    });
  }
  repository.end = rows.length;
  return repository;
});
delete data.repositories;
data.groups.forEach((group, place) => {
  const [result, holder] = group;
  const [kind] = holder.startsWith('rule ') ? ['rule'] : [holder];
  group.place = place;
  group.holder = HOLDERS[kind] ? kind : 'other';
  group.result = result;
});
// Rules of the same words are one in the table.
const rules = new Map();
for (const policy of data.policies) {
  policy.byPriority = new Map();
  for (const [priority, name, description, result] of policy.rules) {
    const key = `${name}\n${description ?? ''}`;
    if (!rules.has(key)) rules.set(key, { name, description, result, priority });
    policy.byPriority.set(`rule ${priority}`, rules.get(key));
  }
}
const actingRule = (row) => (row.group.result === 'stay' ? undefined : row.repository.policy?.byPriority.get(row.group[1]));
const imageAt = (row) => (place) => rows[row.repository.base + place]?.digest ?? '';
const reasonOf = (row) => sentence(row.reason, imageAt(row), row.due);
const holderOf = (row) => HOLDERS[row.group.holder] ?? OTHERS;
// The images of an index are pulled, stored and removed with it.
for (const row of rows) {
  const parent = row.group.holder === 'index' && Array.isArray(row.reason) && row.reason.find((value, place) => place && typeof value === 'number');
  const index = Number.isInteger(parent) ? rows[row.repository.base + parent] : undefined;
  if (index && index.repository === row.repository) {
    index.children += 1;
    index.below += row.size;
  }
}

// What is chosen: a repository, a rule, a time of push, and bytes or images.
const chosen = { repository: repositories.length === 1 ? repositories[0] : undefined, rule: undefined, from: -Infinity, to: Infinity, span: '', unit: 'bytes' };
const isBytes = () => chosen.unit === 'bytes';
const amount = () => ({ images: 0, bytes: 0 });
const add = (to, row) => { to.images += 1; to.bytes += row.size; };
const figure = (one) => (isBytes() ? bytes(one.bytes) : grouped(one.images));
const both = (one) => `${count(one.images, 'image')}, ${bytes(one.bytes)}`;
const own = () => (chosen.repository ? rows.slice(chosen.repository.base, chosen.repository.end) : rows);

// ---- the picture: what happens, and why images are kept ----

const bar = (label, parts, whole) => {
  const sized = parts.filter(({ total }) => total[chosen.unit] > 0);
  const described = sized.map(({ name, total }) => `${name}: ${figure(total)}`).join(', ');
  return make('div', { class: 'whole', role: 'img', 'aria-label': `${label}: ${described || 'nothing'}` },
    sized.map(({ kind, total }) => make('i', { class: `fill ${kind}`, width: (total[chosen.unit] * 100) / whole })));
};
const legend = (parts, whole) =>
  make('ul', { class: 'legend' }, parts.map(({ kind, name, total, show }) => make('li', {},
    button({ class: 'plain', 'data-key': show, 'aria-pressed': String(filter.choice.value === show) }, () => choose(show),
      swatch(kind), name, ' ', make('strong', {}, figure(total)), ' ',
      muted(`${isBytes() ? count(total.images, 'image') : bytes(total.bytes)}, ${percent(total[chosen.unit], whole)}`)))));

const picture = make('section', { class: 'picture', 'aria-label': 'Summary' });
const drawPicture = () => {
  const results = Object.fromEntries(Object.keys(RESULTS).map((result) => [result, amount()]));
  const holders = new Map();
  const coming = HORIZONS.map((days) => ({ days, expire: amount(), archive: amount() }));
  const whole = amount();
  const alongside = amount();
  for (const row of own()) {
    add(whole, row);
    add(results[row.group.result], row);
    if (row.group.result === 'stay') {
      const { holder } = row.group;
      if (!holders.has(holder)) holders.set(holder, amount());
      add(holders.get(holder), row);
      if (row.due !== undefined) {
        for (const one of coming) if (row.due <= row.repository.at + one.days * DAY) add(row.moves ? one.archive : one.expire, row);
      }
    } else if (row.group.result === 'archive') {
      alongside.images += row.children;
      alongside.bytes += row.below;
    }
  }
  const unit = chosen.unit;
  const happens = Object.entries(RESULTS)
    .map(([kind, name]) => ({ kind, name, total: results[kind], show: kind }))
    .filter(({ kind, total }) => kind !== 'archive' || total.images > 0);
  const kept = [...Object.keys(HOLDERS), 'other']
    .filter((holder) => holders.has(holder))
    .map((holder) => ({ kind: (HOLDERS[holder] ?? OTHERS)[0], name: (HOLDERS[holder] ?? OTHERS)[1], total: holders.get(holder), show: `stay ${holder}` }));
  const soon = coming.filter(({ expire, archive }) => expire.images + archive.images > 0);
  const forecast = soon.length > 0 && [
    make('h2', {}, 'What follows'),
    make('p', { class: 'note' }, 'If nothing is pushed, pulled or tagged, rules by age act on what they keep now:'),
    make('ul', { class: 'legend forecast' }, soon.map(({ days, expire, archive }) => make('li', {},
      button({ class: 'plain', 'data-key': `due ${days}`, 'aria-pressed': String(filter.choice.value === `due ${days}`) }, () => choose(`due ${days}`),
        make('span', { class: 'when' }, days === 365 ? 'Within a year' : `In ${days} days`),
        expire.images > 0 && make('span', { class: 'amount' }, swatch('expire'), make('strong', {}, figure(expire)), ' ', muted(`${isBytes() ? count(expire.images, 'image') : bytes(expire.bytes)} ${expire.images === 1 ? 'expires' : 'expire'}`)),
        archive.images > 0 && make('span', { class: 'amount' }, swatch('archive'), make('strong', {}, figure(archive)), ' ', muted(`${isBytes() ? count(archive.images, 'image') : bytes(archive.bytes)} to the archive`)))))),
  ];
  const toggle = make('div', { class: 'toggle', role: 'group', 'aria-label': 'Show sizes or numbers' },
    [['bytes', 'Bytes'], ['images', 'Images']].map(([value, label]) =>
      button({ 'data-key': value, 'aria-pressed': String(unit === value) }, () => { chosen.unit = value; drawAll(); }, label)));
  picture.replaceChildren(...[
    make('div', { class: 'top' },
      make('h2', {}, repositories.length > 1 && chosen.repository ? `${chosen.repository.name}: ${both(whole)}` : both(whole)),
      make('div', { class: 'top' }, repositories.length > 1 && chosen.repository && button({ class: 'plain' }, () => pick(chosen.repository), 'All repositories'), toggle)),
    bar('What happens', happens, whole[unit]),
    legend(happens, whole[unit]),
    alongside.images > 0 && make('p', { class: 'note' }, `The image indexes that move to the archive have ${both(alongside)} as their parts, which are counted as kept.`),
    kept.length > 0 && [make('h2', {}, 'Why images are kept'), bar('Why images are kept', kept, results.stay[unit]), legend(kept, results.stay[unit])],
    forecast,
  ].flat().filter(Boolean));
};

// ---- repositories, when there are several ----

const perRepository = repositories.map((repository) => {
  const sums = { expire: amount(), archive: amount(), stay: amount() };
  for (let place = repository.base; place < repository.end; place += 1) add(sums[rows[place].group.result], rows[place]);
  return { repository, ...sums, images: repository.end - repository.base };
});
const pair = (result) => ({ name: RESULTS[result], number: true, key: (row) => row[result][chosen.unit], cell: (row) => [figure(row[result]), ' ', row[result].images > 0 && muted(isBytes() ? grouped(row[result].images) : bytes(row[result].bytes))] });
const overview = grid({
  label: 'Repositories',
  type: 'figures',
  size: 20,
  empty: 'No repository matches the filter.',
  columns: [
    { name: 'Repository', key: (row) => natural(row.repository.name), cell: (row) => [button({ class: 'link', 'data-key': `repository ${row.repository.base} ${row.repository.name}`, 'aria-pressed': String(chosen.repository === row.repository) }, () => pick(row.repository), row.repository.name), !row.repository.policy && [' ', muted('no policy')]] },
    { name: 'Images', number: true, key: (row) => row.images, cell: (row) => grouped(row.images) },
    pair('expire'),
    ...(rows.some((row) => row.group.result === 'archive') ? [pair('archive')] : []),
    pair('stay'),
  ],
});

const named = make('input', { id: 'repositories-filter', type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: 'Repository', on: { input: () => drawOverview() } });
const drawOverview = () => {
  const words = named.value.toLowerCase().split(/\s+/);
  overview.show(perRepository.filter(({ repository }) => words.every((word) => repository.name.toLowerCase().includes(word))));
};

// ---- rules ----

let largestRule = 1;
const perRule = grid({
  label: 'What each rule does',
  type: 'figures rules',
  size: 20,
  empty: 'No rule.',
  columns: [
    { name: 'Rule', cell: ({ rule, total }) => [
      button({ class: 'link', 'data-key': `rule ${rule.name}`, 'aria-pressed': String(chosen.rule === rule) }, () => { chosen.rule = chosen.rule === rule ? undefined : rule; drawAll(); toImages(); }, rule.name),
      rule.description && make('span', { class: 'muted description' }, rule.description),
      make('span', { class: 'bar', 'aria-hidden': 'true' }, total.images > 0 && make('i', { class: `fill ${rule.result}`, width: (total[chosen.unit] * 100) / largestRule })),
    ] },
    { name: 'Images', number: true, key: ({ total }) => total.images, cell: ({ total }) => grouped(total.images) },
    { name: 'Size', number: true, key: ({ total }) => total.bytes, cell: ({ total }) => bytes(total.bytes) },
    { name: 'Share', number: true, cell: ({ total, whole }) => percent(total[chosen.unit], whole) },
  ],
});
const drawRules = () => {
  const policies = new Set((chosen.repository ? [chosen.repository] : repositories).map(({ policy }) => policy).filter(Boolean));
  const totals = new Map();
  for (const policy of policies) for (const rule of policy.byPriority.values()) totals.set(rule, amount());
  let whole = 0;
  for (const row of own()) {
    whole += isBytes() ? row.size : 1;
    const rule = actingRule(row);
    if (rule) add(totals.get(rule), row);
  }
  const lines = [...totals].map(([rule, total]) => ({ rule, total, whole }));
  lines.sort((one, other) => one.rule.priority - other.rule.priority || other.total.images - one.total.images);
  largestRule = Math.max(1, ...lines.map(({ total }) => total[chosen.unit]));
  perRule.show(lines);
};

// ---- pushes over time ----

// The time of one bar: so many milliseconds, shifted so that weeks begin on Mondays, or so many months.
const even = (name, length, shift, label) => ({
  name,
  label,
  bin: (at) => Math.floor((at + shift) / length),
  start: (bin) => bin * length - shift,
});
const months = (name, number, label) => ({
  name,
  label,
  bin: (at) => { const date = new Date(at); return Math.floor((date.getUTCFullYear() * 12 + date.getUTCMonth()) / number); },
  start: (bin) => Date.UTC(1970, bin * number - 1970 * 12),
});
const STEPS = [
  ...[1, 3, 6].map((hours) => even(count(hours, 'hour'), hours * HOUR, 0, (at) => minute(at).slice(5))),
  ...[1, 2].map((days) => even(count(days, 'day'), days * DAY, 0, day)),
  ...[1, 2].map((weeks) => even(count(weeks, 'week'), weeks * 7 * DAY, 3 * DAY, day)),
  ...[1, 3].map((number) => months(count(number, 'month'), number, (at) => iso(at).slice(0, 7))),
  ...[1, 2, 5, 10, 100, 1000].map((years) => months(count(years, 'year'), years * 12, (at) => iso(at).slice(0, 4))),
];
const MOST_BINS = 60;
const FEWEST_BINS = 15;

// The distance between lines across the chart: 1, 2 or 5 times a power of ten, so that there are five at most.
const spacing = (highest) => {
  for (let magnitude = 1; ; magnitude *= 10) {
    for (const factor of [1, 2, 5]) if (Math.ceil(highest / (magnitude * factor)) <= 5) return magnitude * factor;
  }
};

const chart = make('section', { class: 'pushes' });
const drawChart = () => {
  const images = own();
  chart.hidden = images.length === 0;
  if (chart.hidden) return;
  let [oldest, youngest] = [Infinity, -Infinity];
  for (const { at } of images) {
    oldest = Math.min(oldest, at);
    youngest = Math.max(youngest, at);
  }
  // The present, if it is near: it shows how old the youngest image is.
  const now = images[0].repository.at;
  if (now > youngest && now - youngest <= (youngest - oldest) / 4) youngest = now;
  const step = STEPS.find(({ bin }) => bin(youngest) - bin(oldest) < MOST_BINS) ?? STEPS.at(-1);
  let [first, last] = [step.bin(oldest), step.bin(youngest)];
  const missing = Math.max(0, FEWEST_BINS - (last - first + 1));
  first -= Math.floor(missing / 2);
  last += missing - Math.floor(missing / 2);
  const bins = Array.from({ length: last - first + 1 }, () => ({ expire: amount(), archive: amount(), stay: amount() }));
  for (const row of images) add(bins[step.bin(row.at) - first][row.group.result], row);
  const sum = (bin) => Object.values(bin).reduce((total, one) => total + one[chosen.unit], 0);
  const highest = Math.max(1, ...bins.map(sum));
  const line = spacing(highest);
  const top = Math.ceil(highest / line) * line;
  const label = (bin) => step.label(step.start(bin));
  const span = (bin) => {
    const [from, to] = [label(bin), step.label(step.start(bin + 1) - 1)];
    return from === to ? from : `${from} to ${to}`;
  };
  const bars = bins.map((bin, place) => {
    const parts = Object.entries(bin).filter(([, total]) => total.images > 0).map(([result, total]) => `${both(total)} ${RESULTS[result].toLowerCase()}`);
    const text = `${span(first + place)}: ${parts.join('; ') || 'nothing'}`;
    const from = step.start(first + place);
    const click = () => {
      const isOn = chosen.from === from;
      Object.assign(chosen, isOn ? { from: -Infinity, to: Infinity, span: '' } : { from, to: step.start(first + place + 1), span: span(first + place) });
      drawAll();
      if (!isOn) toImages();
    };
    return button({ class: 'bin', 'data-key': `pushed ${from}`, title: text, 'aria-label': text, 'aria-pressed': String(chosen.from === from), disabled: !parts.length, tabindex: '-1' }, click,
      Object.entries(bin).filter(([, total]) => total[chosen.unit] > 0).map(([result, total]) => make('i', { class: `fill ${result}`, height: (total[chosen.unit] * 100) / top })));
  });
  // One stop for the tabulator, and arrows from bar to bar.
  const live = bars.filter((one) => !one.disabled);
  live[0]?.setAttribute('tabindex', '0');
  const move = (event) => {
    const to = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const target = to && live[live.indexOf(event.target) + to];
    if (!target) return;
    event.preventDefault();
    live.forEach((one) => one.setAttribute('tabindex', one === target ? '0' : '-1'));
    target.focus();
  };
  const lines = Array.from({ length: top / line + 1 }, (_, place) =>
    make('span', { class: 'line', height: (place * line * 100) / top }, make('span', {}, isBytes() ? bytes(place * line) : grouped(place * line))));
  const stride = Math.ceil(bins.length / 8);
  const labels = bins.map((_, place) => place).filter((place) => place % stride === 0 && place < bins.length * 0.92);
  // On a phone a character is a fortieth of the chart: what would end behind it is left out there.
  const isLate = (place) => place / bins.length > 1 - label(first + place).length / 40;
  chart.replaceChildren(
    make('h2', {}, 'Pushes'),
    make('p', { class: 'note' }, `Images by the time of their push; one bar is ${step.name}. Choose a bar to see its images.`),
    make('div', { class: 'chart', role: 'group', 'aria-label': `Images by the time of their push, in bars of ${step.name}`, on: { keydown: move } },
      make('div', { class: 'lines', 'aria-hidden': 'true' }, lines), make('div', { class: 'bins' }, bars)),
    make('div', { class: 'axis', 'aria-hidden': 'true' }, labels.map((place) =>
      make('span', { class: isLate(place) ? 'late' : '', width: (stride * 100) / bins.length }, label(first + place)))),
  );
};

// ---- images ----

const COMING = { expire: -2, archive: -1 };
const filter = controls({ name: 'images', hint: 'Tag, digest or reason', apply: () => drawImages() });
const table = grid({
  label: 'Images',
  type: 'list',
  size: repositories.length > 1 ? 25 : 50,
  empty: rows.length > 0 ? 'No image matches the filter.' : 'There is no image.',
  columns: [
    { name: 'Digest', type: 'id', key: (row) => row.digest, cell: (row) => digestOf(row.digest) },
    ...(repositories.length > 1 ? [{ name: 'Repository', type: 'repository', key: (row) => natural(row.repository.name), cell: (row) => row.repository.name }] : []),
    { name: 'Tags', type: 'tags', key: (row) => natural(row.tags[0] ?? ''), cell: (row) => tagsOf(row.tags) },
    { name: 'Pushed', type: 'pushed', key: (row) => row.at, cell: (row) => [time(row.at, day(row.at)), ' ', muted(distance(row.repository.at, row.at))] },
    { name: 'Size', type: 'size', number: true, key: (row) => row.size + row.below, cell: (row) => [make('span', { title: `${grouped(row.size)} bytes` }, bytes(row.size)), row.children > 0 && [' ', muted(`${bytes(row.size + row.below)} with ${count(row.children, 'part')}`)]] },
    { name: 'What happens', type: 'what', key: (row) => COMING[row.group.result] ?? row.due ?? Infinity, cell: (row) => [
      make('span', { class: 'fate' }, swatch(row.group.result === 'stay' ? holderOf(row)[0] : row.group.result), { expire: 'expires', archive: 'archived', stay: 'kept' }[row.group.result]),
      row.due !== undefined && [' ', muted(row.moves ? 'archived ' : 'expires ', time(row.due, day(row.due)), `, ${distance(row.repository.at, row.due)}`)],
    ] },
    { name: 'By', type: 'by', key: (row) => natural(row.group[1]), cell: (row) => [row.group[1], row.pass && [', ', muted(`pass ${row.pass}`)]] },
    { name: 'Reason', type: 'reason', key: (row) => natural(reasonOf(row)), cell: (row) => prose(reasonOf(row)) },
  ],
});
const chips = make('p', { class: 'chips' });
const chip = (text, clear) => button({ class: 'chip', 'aria-label': `Remove the filter: ${text}` }, () => { clear(); drawAll(); }, text, ' ×');
const isChosen = (value) => {
  if (value.startsWith('due ')) {
    const within = Number(value.slice(4)) * DAY;
    return (row) => row.due !== undefined && row.due <= row.repository.at + within;
  }
  if (value === 'goes') return (row) => row.group.result !== 'stay';
  const groups = new Set(data.groups.filter(({ result, holder }) => value === '' || value === result || value === `stay ${holder}`));
  return (row) => groups.has(row.group);
};
const drawImages = () => {
  const images = own();
  const fits = isChosen(filter.choice.value);
  const words = filter.words();
  const matching = images.filter((row) => {
    if (!fits(row) || row.at < chosen.from || row.at >= chosen.to || (chosen.rule && actingRule(row) !== chosen.rule)) return false;
    if (!words.length) return true;
    row.text ??= `${row.repository.name}\n${row.digest}\n${row.tags.join('\n')}\n${reasonOf(row)}`.toLowerCase();
    return words.every((word) => row.text.includes(word));
  });
  const total = amount();
  matching.forEach((row) => add(total, row));
  filter.shown.textContent = matching.length === images.length ? `${both(total)}` : `${grouped(matching.length)} of ${count(images.length, 'image')}, ${bytes(total.bytes)}`;
  chips.replaceChildren(...[
    repositories.length > 1 && chosen.repository && chip(chosen.repository.name, () => { chosen.repository = undefined; }),
    chosen.rule && chip(chosen.rule.name, () => { chosen.rule = undefined; }),
    chosen.span && chip(`pushed ${chosen.span}`, () => Object.assign(chosen, { from: -Infinity, to: Infinity, span: '' })),
  ].filter(Boolean));
  chips.hidden = !chips.children.length;
  table.show(matching);
};
const toImages = () => { document.getElementById('images').scrollIntoView({ block: 'start' }); };
const choose = (value) => {
  filter.choice.value = filter.choice.value === value ? '' : value;
  drawAll();
  toImages();
};
const pick = (repository) => {
  Object.assign(chosen, { repository: chosen.repository === repository ? undefined : repository, rule: undefined, from: -Infinity, to: Infinity, span: '' });
  drawAll();
};

// ---- the page ----

const policy = make('section', { class: 'policy' });
const drawPolicy = () => {
  const text = chosen.repository?.policy?.text;
  policy.hidden = !text;
  if (text) policy.replaceChildren(make('details', {}, make('summary', {}, 'The policy, as ECR takes it'), make('pre', { tabindex: '0' }, make('code', {}, text))));
};
const section = (id, title, ...children) => make('section', { id, 'aria-labelledby': `${id}-title` }, make('h2', { id: `${id}-title` }, title), children);
const lists = {
  repositories: repositories.length > 1 && section('repositories', `Repositories (${grouped(repositories.length)})`, make('div', { class: 'controls' }, make('div', {}, make('label', { for: named.id }, 'Filter'), named)), overview.host),
  rules: data.policies.length > 0 && section('rules', 'Rules', perRule.host),
};
const drawAll = () => {
  // Whoever came by keyboard stays where they are.
  const key = document.activeElement?.dataset.key;
  const holders = new Set(data.groups.filter(({ result }) => result === 'stay').map(({ holder }) => holder));
  filter.choices([
    ['', 'all images'],
    ['goes', 'what expires or is archived'],
    ['expire', 'what expires'],
    ['archive', 'what is archived'],
    ['stay', 'what is kept'],
    ['When rules by age act', HORIZONS.map((days) => [`due ${days}`, days === 365 ? 'within a year' : `within ${days} days`])],
    ['Kept', [...holders].map((holder) => [`stay ${holder}`, (HOLDERS[holder] ?? OTHERS)[1].toLowerCase()])],
  ]);
  drawPicture();
  if (lists.repositories) overview.draw();
  if (lists.rules) drawRules();
  drawChart();
  drawImages();
  drawPolicy();
  if (key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
};
document.getElementById('summary').append(picture);
document.getElementById('view').append(...[
  lists.repositories,
  lists.rules,
  chart,
  section('images', 'Images', filter.host, chips, table.host, printer(table)),
  policy,
].filter(Boolean));
if (lists.repositories) drawOverview();
drawAll();
