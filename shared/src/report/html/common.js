// What the pages share: elements, numbers as the Rust side writes them, and tables that show a part of their rows.
//
// Everything that a page shows is in its data island; this script makes elements of what is visible only. Text from outside
// becomes text nodes and attributes, never markup.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

// Characters that would turn the text around them about, or are not seen, are shown by their number.
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const visible = (text) => text.replace(CONTROLS, (control) => `\\u{${control.codePointAt(0).toString(16)}}`);

// An element. `on` has listeners, `width` and `height` are percents (the page's policy forbids attributes with styles); children
// that are missing are left out.
const make = (name, attributes, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key === 'on') Object.entries(value).forEach((listener) => element.addEventListener(...listener));
    else if (key === 'width' || key === 'height') element.style[key] = `${value}%`;
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? '' : value);
  }
  const there = children.flat(3).filter((child) => child !== undefined && child !== null && child !== false && child !== '');
  element.append(...there.map((child) => (typeof child === 'string' ? visible(child) : child)));
  return element;
};

const button = (attributes, click, ...children) => make('button', { type: 'button', ...attributes, on: { click } }, ...children);
const muted = (...children) => make('span', { class: 'muted' }, ...children);
const swatch = (kind) => make('span', { class: `swatch fill ${kind}`, 'aria-hidden': 'true' });

const format = new Intl.NumberFormat('en');
const grouped = (number) => format.format(number);
const count = (number, one, many = `${one}s`) => `${grouped(number)} ${number === 1 ? one : many}`;

// As Rust rounds: a tie goes to the even digit.
const fixed = (value, digits) => {
  const scaled = value * 10 ** digits;
  const isTie = Number.isInteger(value * 4) && scaled % 1 === 0.5;
  return isTie ? ((2 * Math.round(scaled / 2)) / 10 ** digits).toFixed(digits) : value.toFixed(digits);
};

// Bytes in decimal units, in two or three digits.
const bytes = (size) => {
  if (size < 1000) return `${size} B`;
  const units = ['kB', 'MB', 'GB', 'TB', 'PB'];
  let value = size / 1000;
  while (value >= 999.5 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${fixed(value, value < 9.95 ? 1 : 0)} ${units[0]}`;
};

// A share in whole percent. What is there never shows as 0 %, what is missing never as 100 %.
const percent = (part, whole) => {
  if (!part || !whole) return '0 %';
  const rounded = Math.floor((part * 200 + whole) / (whole * 2));
  if (rounded < 1) return '< 1 %';
  return rounded >= 100 && part < whole ? '> 99 %' : `${rounded} %`;
};

// Times are UTC. Those beyond the calendar of browsers are shown as they are.
const iso = (at) => (Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at));
const day = (at) => iso(at).slice(0, 10);
const minute = (at) => iso(at).slice(0, 16).replace('T', ' ');
const time = (at, text) => make('time', { datetime: iso(at), title: iso(at) }, text);
const distance = (now, at) => {
  const length = Math.abs(at - now);
  const text = length < DAY ? `${Math.floor(length / HOUR)} h` : `${grouped(Math.floor(length / DAY))} d`;
  return at > now ? `in ${text}` : `${text} ago`;
};

// Sorts `item-9` before `item-10`, and a hundred thousand of them in no time.
const natural = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, '0'));

// Says something to screen readers, and shortly to everybody.
const announcement = document.getElementById('announcement');
const say = (text) => {
  announcement.textContent = text;
  announcement.classList.add('visible');
  clearTimeout(say.timer);
  say.timer = setTimeout(() => announcement.classList.remove('visible'), 2000);
};

// A digest in its short form, that copies all of it. The clipboard is there in secure contexts only, which files are.
const short = (digest) => digest.slice(digest.indexOf(':') + 1, digest.indexOf(':') + 13);
const digestOf = (digest) => {
  const code = make('code', { class: 'digest', title: digest }, short(digest));
  if (!navigator.clipboard) return code;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(digest);
      say('Digest copied');
    } catch {
      say('Not copied: the browser does not allow it');
    }
  };
  return button({ class: 'copy', title: `Copy ${digest}` }, copy, code);
};

// A sentence with the digests in it in their short form.
const prose = (text) =>
  text.split(/(\w+:[0-9a-f]{32,})/).map((part, place) =>
    place % 2 ? make('code', { class: 'digest', title: part }, short(part)) : part);

// Sentences are a template and what goes into it: numbers, digests (or the places of images that have them), and a time.
const sentence = (given, imageAt, due) => {
  if (typeof given === 'string') return given;
  let next = 1;
  return data.sentences[given[0]].replace(/[\u0001-\u0003]/g, (mark) => {
    if (mark === '\u0003') return minute(due);
    const value = given[next++];
    return mark === '\u0002' && typeof value === 'number' ? imageAt(value) : value;
  });
};

// Eight tags at once; ECR allows a thousand.
const TAGS = 8;
const tagsOf = (tags) => {
  const tag = (text) => make('span', { class: 'tag' }, text);
  if (!tags.length) return muted('untagged');
  const rest = tags.slice(TAGS);
  const fold = make('details', {}, make('summary', {}, `${rest.length} more`));
  // Made when they are asked for.
  fold.addEventListener('toggle', () => fold.children.length === 1 && fold.append(...rest.map(tag)));
  return [...tags.slice(0, TAGS).map(tag), rest.length > 0 && fold];
};

// A table that sorts all its rows, and shows some of them at a time.
//
// A column has a `name`, a `key` to sort by, a `cell` that makes the children of a row's cell, and maybe `number` and a `type` for
// the stylesheet. The rows below another one come from `below`.
const grid = ({ label, columns, size, empty, type, below }) => {
  let rows = [];
  let order;
  let first = 0;
  const body = make('tbody');
  const heads = columns.map((column) => {
    const head = make('th', { scope: 'col', class: column.number && 'number', 'aria-sort': column.key && 'none' });
    head.append(column.key ? button({ class: 'sort' }, () => turn(column, head), column.name) : column.name);
    return head;
  });
  const table = make('table', { class: type, 'aria-label': label }, make('thead', {}, make('tr', {}, heads)), body);
  const where = make('span', { role: 'status' });
  const step = (text, target) => button({}, () => { first = target(); draw(); }, text);
  const last = () => Math.max(0, Math.ceil(rows.length / size) - 1) * size;
  const back = [step('First', () => 0), step('Previous', () => Math.max(0, first - size))];
  const forth = [step('Next', () => Math.min(last(), first + size)), step('Last', last)];
  const pager = make('nav', { class: 'pager', 'aria-label': `${label}: pages` }, back, where, forth);
  const nothing = make('p', { class: 'nothing muted' }, empty);
  const host = make('div', { class: 'grid' }, make('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': label }, table), nothing, pager);
  const sorted = () => {
    if (!order) return rows;
    const sign = order.down ? -1 : 1;
    const keys = rows.map(order.column.key);
    // Equal ones stay as they were.
    const places = keys.map((_, place) => place).sort((a, b) => (keys[a] < keys[b] ? -sign : keys[a] > keys[b] ? sign : a - b));
    return places.map((place) => rows[place]);
  };
  let shown = [];
  const draw = (number = size) => {
    const cell = (row) => (column, place) =>
      make(place === 0 ? 'th' : 'td', { scope: place === 0 && 'row', class: [column.number && 'number', column.type].filter(Boolean).join(' ') || undefined, 'data-name': column.name }, column.cell(row));
    body.replaceChildren(...shown.slice(first, first + number).flatMap((row) =>
      [make('tr', {}, columns.map(cell(row))), below?.(row)].filter(Boolean)));
    const to = Math.min(first + number, rows.length);
    where.textContent = rows.length > number ? `${grouped(first + 1)}–${grouped(to)} of ${grouped(rows.length)}` : '';
    pager.hidden = rows.length <= number;
    back.forEach((one) => { one.disabled = first === 0; });
    forth.forEach((one) => { one.disabled = first >= last(); });
    nothing.hidden = rows.length > 0;
    table.hidden = rows.length === 0;
  };
  // Up, down, and back to the order of the report.
  const turn = (column, head) => {
    order = order?.column !== column ? { column } : order.down ? undefined : { column, down: true };
    heads.forEach((other) => other.hasAttribute('aria-sort') && other.setAttribute('aria-sort', 'none'));
    if (order) head.setAttribute('aria-sort', order.down ? 'descending' : 'ascending');
    shown = sorted();
    first = 0;
    draw();
  };
  return {
    host,
    show: (given) => {
      rows = given;
      shown = sorted();
      first = 0;
      draw();
    },
    draw,
    // Shows the page with this row.
    turnTo: (row) => {
      first = Math.max(0, Math.floor(shown.indexOf(row) / size)) * size;
      draw();
    },
  };
};

// The field and the choice above a table; `apply` is called with both. `choices` are [value, label], or [label, choices].
const controls = ({ name, hint, apply }) => {
  const field = make('input', { id: `${name}-filter`, type: 'search', autocomplete: 'off', spellcheck: 'false', placeholder: hint, on: { input: () => apply() } });
  const choice = make('select', { id: `${name}-show`, on: { change: () => apply() } });
  const shown = make('p', { class: 'shown muted', role: 'status' });
  const labelled = (text, control) => make('div', {}, make('label', { for: control.id }, text), control);
  const option = ([value, label]) =>
    Array.isArray(label) ? make('optgroup', { label: value }, label.map(option)) : make('option', { value }, label);
  return {
    host: make('div', { class: 'controls' }, labelled('Filter', field), labelled('Show', choice), shown),
    field,
    choice,
    shown,
    words: () => field.value.toLowerCase().split(/\s+/).filter(Boolean),
    choices: (given) => {
      const { value } = choice;
      choice.replaceChildren(...given.map(option));
      choice.value = value;
      if (choice.selectedIndex < 0) choice.selectedIndex = 0;
    },
  };
};

// On paper there is the summary; the button has the table printed, too, as far as this.
const PRINTED = 1000;
const printer = (table) => button({ class: 'plain print' }, () => {
  document.body.classList.add('details');
  table.draw(PRINTED);
  addEventListener('afterprint', () => {
    document.body.classList.remove('details');
    table.draw();
  }, { once: true });
  print();
}, 'Print with these rows');
