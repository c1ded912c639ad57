// The page of a run: its repositories with their images, and its tables.

// What is chosen: a repository, or the repositories of a cause.
const chosen = { repository: undefined, cause: undefined };

// A cell is a text, or a text with a value to sort by, a smaller text, and whether it is strong.
const parts = (cell) => (Array.isArray(cell) ? cell : [cell]);
const shown = (cell) => {
  const [text, , small, strong] = parts(cell);
  return [strong ? make('strong', {}, text) : prose(text), small && [' ', make('small', {}, small)]];
};
const keyed = (columns, cellOf) => columns.map(([name, number], place) => ({
  name,
  number,
  key: (row) => {
    const [text, sort] = parts(cellOf(row)[place]);
    return sort ?? natural(text);
  },
  cell: (row) => shown(cellOf(row)[place]),
}));

const { columns, choices, rows } = data.repositories;
const images = [];
const repositories = rows.map(([cells, applies, details, listed]) => {
  const repository = { cells, name: parts(cells[0])[0], applies, details, base: images.length };
  for (const [digest, tags, since, size, rule, result, reason, detail] of listed) {
    images.push({
      repository,
      digest: digest.includes(':') ? digest : `sha256:${digest}`,
      tags: typeof tags === 'string' ? [tags] : tags,
      at: data.started + since * 1000,
      size,
      rule,
      result: data.results[result],
      reason,
      detail,
    });
  }
  repository.images = images.slice(repository.base);
  return repository;
});
delete data.repositories;
const said = (given) => (given === undefined ? '' : sentence(given, () => '', 0));
const contentOf = (repository) =>
  [...repository.cells.map((cell) => parts(cell)[0]), ...repository.details.flatMap(([, lines]) => lines)].join('\n').toLowerCase();
const textOf = (image) =>
  (image.text ??= `${image.repository.name}\n${image.digest}\n${image.tags.join('\n')}\n${said(image.reason)}\n${said(image.detail)}`.toLowerCase());

// ---- repositories ----

const filter = controls({ name: 'repositories', hint: 'Repository, tag, digest or reason', apply: () => drawAll() });
filter.choices([['', 'all repositories'], ...choices
  .map((label, place) => [String(place), label, repositories.filter(({ applies }) => applies.includes(place)).length])
  .filter(([, , number]) => number > 0)
  .map(([value, label, number]) => [value, `${label} (${grouped(number)})`])]);
const pick = (repository) => {
  chosen.repository = chosen.repository === repository ? undefined : repository;
  drawAll();
};
const list = grid({
  label: 'Repositories',
  type: 'figures repositories',
  size: 20,
  empty: 'No repository matches the filter.',
  columns: keyed(columns, (repository) => repository.cells).map((column, place) => (place ? column : {
    ...column,
    cell: (repository) => button({ class: 'link', 'data-key': repository.name, 'aria-expanded': String(chosen.repository === repository) }, () => pick(repository), repository.name),
  })),
  below: (repository) => chosen.repository === repository && make('tr', { class: 'details' }, make('td', { colspan: columns.length },
    repository.details.length === 0 && muted('There is nothing else to tell of it.'),
    repository.details.map(([title, lines]) => [make('h3', {}, title), make('ul', {}, lines.map((line) => make('li', {}, prose(line))))]))),
});

// ---- images ----

const result = controls({ name: 'images', hint: 'Tag, digest or reason', apply: () => drawImages() });
const table = grid({
  label: 'Images',
  type: 'list',
  size: 25,
  empty: 'No image matches the filter.',
  columns: [
    { name: 'Digest', type: 'id', key: (image) => image.digest, cell: (image) => digestOf(image.digest) },
    { name: 'Repository', type: 'repository', key: (image) => natural(image.repository.name), cell: (image) => image.repository.name },
    { name: 'Tags', type: 'tags', key: (image) => natural(image.tags[0] ?? ''), cell: (image) => tagsOf(image.tags) },
    { name: 'Pushed', type: 'pushed', key: (image) => image.at, cell: (image) => time(image.at, day(image.at)) },
    { name: 'Size', type: 'size', number: true, key: (image) => image.size, cell: (image) => bytes(image.size) },
    { name: 'Rule', type: 'by', number: true, key: (image) => image.rule, cell: (image) => String(image.rule) },
    { name: 'Outcome', type: 'what', key: (image) => image.result[1], cell: (image) => make('span', { class: 'fate' }, swatch(image.result[0]), image.result[1]) },
    { name: 'Reason', type: 'reason', key: (image) => natural(said(image.reason)), cell: (image) => [prose(said(image.reason)), image.detail !== undefined && make('p', { class: 'muted' }, prose(said(image.detail)))] },
  ],
});
const chips = make('p', { class: 'chips' });
const chip = (text, clear) => button({ class: 'chip', 'aria-label': `Remove the filter: ${text}` }, () => { clear(); drawAll(); }, text, ' ×');
let within = repositories;
const drawImages = () => {
  const own = chosen.repository ? chosen.repository.images : within === repositories ? images : within.flatMap((one) => one.images);
  const words = [...result.words(), ...filter.words()];
  const matching = own.filter((image) =>
    (!result.choice.value || image.result[1] === result.choice.value) && words.every((word) => textOf(image).includes(word)));
  const size = matching.reduce((total, image) => total + image.size, 0);
  result.shown.textContent = matching.length === images.length ? `${count(images.length, 'image')}, ${bytes(size)}` : `${grouped(matching.length)} of ${count(images.length, 'image')}, ${bytes(size)}`;
  chips.replaceChildren(...[
    chosen.repository && chip(chosen.repository.name, () => { chosen.repository = undefined; }),
    chosen.cause && chip(chosen.cause.name, () => { chosen.cause = undefined; }),
    filter.field.value && chip(`“${filter.field.value}”`, () => { filter.field.value = ''; }),
  ].filter(Boolean));
  chips.hidden = !chips.children.length;
  table.show(matching);
};
const drawAll = () => {
  // Whoever came by keyboard stays where they are.
  const key = document.activeElement?.dataset.key;
  const words = filter.words();
  const choice = filter.choice.value === '' ? undefined : Number(filter.choice.value);
  const isChosen = (repository, place) => {
    if (chosen.cause && !chosen.cause.places.has(place)) return false;
    if (choice !== undefined && !repository.applies.includes(choice)) return false;
    if (!words.length) return true;
    repository.text ??= contentOf(repository);
    return words.every((word) => repository.text.includes(word)) || repository.images.some((image) => words.every((word) => textOf(image).includes(word)));
  };
  within = chosen.cause || choice !== undefined || words.length ? repositories.filter(isChosen) : repositories;
  if (chosen.repository && !within.includes(chosen.repository)) chosen.repository = undefined;
  filter.shown.textContent = within === repositories ? count(repositories.length, 'repository', 'repositories') : `${grouped(within.length)} of ${count(repositories.length, 'repository', 'repositories')}`;
  list.show(within);
  if (chosen.repository) list.turnTo(chosen.repository);
  drawImages();
  if (key) document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
};

// ---- the page ----

const section = (id, title, ...children) => make('section', { id, 'aria-labelledby': `${id}-title` }, make('h2', { id: `${id}-title` }, title), children);
const results = data.results.map(([, words]) => [words, `${words.toLowerCase()} (${grouped(images.filter(({ result: [, own] }) => own === words).length)})`]);
result.choices([['', 'all images'], ...results]);
// Tables are made when they are unfolded.
const folded = data.tables.map(({ title, number, note, columns: names, rows: lines }) => {
  const fold = make('details', { class: 'table' }, make('summary', {}, title, ' ', make('span', { class: 'badge' }, grouped(number))));
  fold.addEventListener('toggle', () => {
    if (fold.children.length > 1) return;
    const own = grid({ label: title, type: 'figures', size: 15, empty: 'None.', columns: keyed(names, (row) => row) });
    fold.append(note && make('p', { class: 'note' }, note), own.host);
    own.show(lines);
  });
  return fold;
});
document.getElementById('view').append(...[
  repositories.length > 0 && section('repositories', 'Repositories', filter.host, list.host),
  images.length > 0 && section('images', 'Images', result.host, chips, table.host, printer(table)),
  ...folded,
].filter(Boolean));
for (const item of document.querySelectorAll('[data-cause]')) {
  const [title] = item.getElementsByTagName('p');
  const places = new Set(data.causes[item.dataset.cause]);
  title.append(' ', button({ class: 'plain' }, () => {
    chosen.cause = { name: title.querySelector('strong').textContent, places };
    drawAll();
    document.getElementById('repositories').scrollIntoView();
  }, 'Show them'));
}
if (repositories.length > 0) drawAll();
