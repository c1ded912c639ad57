// Sorting, filtering and copying. Without it, everything can be read; nothing is made from text that is not text.
(() => {
  'use strict';

  const collator = new Intl.Collator('en', { numeric: true });
  const announcement = document.getElementById('announcement');

  const say = (text) => {
    announcement.textContent = text;
    announcement.classList.add('visible');
    clearTimeout(say.timer);
    say.timer = setTimeout(() => announcement.classList.remove('visible'), 2000);
  };

  const number = (value) => value.toLocaleString('en');

  // Units are what is sorted: rows, or bodies of a table whose first row is compared.
  const sortable = (table, units) => {
    const body = units[0].parentNode;
    const cell = (unit, column) => (unit.rows ? unit.rows[0] : unit).cells[column];
    const headers = [...table.tHead.querySelectorAll('th')];
    headers.forEach((header, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'sort';
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute('aria-sort', 'none');
      button.addEventListener('click', () => {
        // Up, down, and back to the order of the report.
        const next = { none: 'ascending', ascending: 'descending', descending: 'none' };
        const order = next[header.getAttribute('aria-sort')];
        headers.forEach((other) => other.setAttribute('aria-sort', 'none'));
        header.setAttribute('aria-sort', order);
        let sorted = units;
        if (order !== 'none') {
          const sign = order === 'ascending' ? 1 : -1;
          const numeric = cell(units[0], column).dataset.sort !== undefined;
          const compare = numeric ? (a, b) => a - b : collator.compare;
          sorted = units
            .map((unit) => {
              const { dataset, textContent } = cell(unit, column);
              return [numeric ? Number(dataset.sort) : textContent, unit];
            })
            .sort((a, b) => sign * compare(a[0], b[0]))
            .map((pair) => pair[1]);
        }
        body.append(...sorted);
      });
    });
  };

  const filterable = (panel, units, content, isChosen) => {
    const controls = panel.querySelector('.controls');
    const text = controls.querySelector('input');
    const choice = controls.querySelector('select');
    const shown = controls.querySelector('.shown');
    const nothing = panel.querySelector('.nothing');
    let contents;
    const apply = () => {
      contents ??= units.map((unit) => content(unit).toLowerCase());
      const words = text.value.toLowerCase().split(/\s+/);
      let matching = 0;
      units.forEach((unit, place) => {
        const matches = (!choice.value || isChosen(unit.dataset.group, choice.value))
          && words.every((word) => contents[place].includes(word));
        unit.hidden = !matches;
        matching += matches ? 1 : 0;
      });
      shown.textContent = matching === units.length
        ? `${number(units.length)} shown`
        : `${number(matching)} of ${number(units.length)} shown`;
      nothing.hidden = matching > 0;
    };
    text.addEventListener('input', apply);
    choice.addEventListener('change', apply);
    controls.hidden = false;
    // Browsers keep what was entered when a page is loaded again.
    apply();
  };

  const copyable = (code) => {
    // Only in secure contexts, which files are; elsewhere a click selects the digest.
    if (!navigator.clipboard) return;
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.title = `Copy ${code.title}`;
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(code.title);
        say('Digest copied');
      } catch {
        say('Not copied: the browser does not allow it');
      }
    });
    code.replaceWith(button);
    button.append(code);
  };

  for (const panel of document.querySelectorAll('.images')) {
    const rows = [...panel.querySelectorAll('tbody tr')];
    const content = (row) =>
      ['.id', '.tags', '.reason'].map((cell) => row.querySelector(cell).textContent).join('\n');
    sortable(panel.querySelector('table'), rows);
    filterable(panel, rows, content, (group, chosen) => `${group} `.startsWith(`${chosen} `));
    rows.forEach((row) => copyable(row.querySelector('.id code')));
  }

  for (const table of document.querySelectorAll('.protection table')) {
    sortable(table, [...table.tBodies[0].rows]);
  }

  for (const panel of document.querySelectorAll('.outcomes')) {
    const table = panel.querySelector('table');
    const bodies = [...table.tBodies];
    sortable(table, bodies);
    filterable(panel, bodies, (body) => body.textContent, (groups, chosen) => groups.split(' ').includes(chosen));
    // Tables of images are many, and most are never unfolded.
    table.addEventListener('toggle', ({ target }) => {
      const images = target.querySelector('.results:not([data-ready])');
      if (!images) return;
      images.dataset.ready = '';
      sortable(images, [...images.tBodies[0].rows]);
      images.querySelectorAll('td:first-child .digest').forEach(copyable);
    }, true);
    // A link to a repository shows what there is to tell of it.
    const unfold = () => {
      const body = bodies.find(({ id }) => `#${id}` === location.hash);
      if (!body) return;
      body.hidden = false;
      body.querySelectorAll('details').forEach((details) => { details.open = true; });
      body.scrollIntoView();
    };
    addEventListener('hashchange', unfold);
    unfold();
  }

  // What is folded is missing on paper.
  addEventListener('beforeprint', () => {
    for (const details of document.querySelectorAll('details:not([open])')) {
      details.open = true;
      details.dataset.printed = '';
    }
  });
  addEventListener('afterprint', () => {
    for (const details of document.querySelectorAll('details[data-printed]')) {
      details.open = false;
      delete details.dataset.printed;
    }
  });
})();
