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

  const sortable = (panel, rows) => {
    const body = panel.querySelector('tbody');
    const headers = [...panel.querySelectorAll('thead th')];
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
        let sorted = rows;
        if (order !== 'none') {
          const sign = order === 'ascending' ? 1 : -1;
          const numeric = rows[0].cells[column].dataset.sort !== undefined;
          const compare = numeric ? (a, b) => a - b : collator.compare;
          sorted = rows
            .map((row) => {
              const cell = row.cells[column];
              return [numeric ? Number(cell.dataset.sort) : cell.textContent, row];
            })
            .sort((a, b) => sign * compare(a[0], b[0]))
            .map((pair) => pair[1]);
        }
        body.append(...sorted);
      });
    });
  };

  const filterable = (panel, rows) => {
    const controls = panel.querySelector('.controls');
    const text = controls.querySelector('input');
    const choice = controls.querySelector('select');
    const shown = controls.querySelector('.shown');
    const nothing = panel.querySelector('.nothing');
    let contents;
    const apply = () => {
      contents ??= rows.map((row) =>
        ['.id', '.tags', '.reason'].map((cell) => row.querySelector(cell).textContent).join('\n').toLowerCase());
      const words = text.value.toLowerCase().split(/\s+/);
      let matching = 0;
      rows.forEach((row, place) => {
        const matches = `${row.dataset.group} `.startsWith(choice.value && `${choice.value} `)
          && words.every((word) => contents[place].includes(word));
        row.hidden = !matches;
        matching += matches ? 1 : 0;
      });
      shown.textContent = matching === rows.length
        ? `${number(rows.length)} shown`
        : `${number(matching)} of ${number(rows.length)} shown`;
      nothing.hidden = matching > 0;
    };
    text.addEventListener('input', apply);
    choice.addEventListener('change', apply);
    controls.hidden = false;
    // Browsers keep what was entered when a page is loaded again.
    apply();
  };

  const copyable = (row) => {
    const code = row.querySelector('.id code');
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
    sortable(panel, rows);
    filterable(panel, rows);
    // Only in secure contexts, which files are; elsewhere a click selects the digest.
    if (navigator.clipboard) rows.forEach(copyable);
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
