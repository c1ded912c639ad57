// Opens pages in Chromium as people do, and measures.
//
//   node pages.mjs NODE_MODULES CHROMIUM < pages.json > what-was-seen.json
//
// A page is `file`, `bare` (a page of the same data that does the least), `filter` (words to filter by), `small` (axe-core looks at
// it on a phone and in the dark as well) and, if a picture is to be taken of it, `picture` (a file in PNG, the size of the
// window, and the file of an earlier picture).
// What was seen has for each page: messages of the console, requests, violations that
// axe-core finds, numbers of nodes, what the filter found, what the totals say, by how much it is wider than a phone, which
// tables are cut off there, which labels of its chart are cut off or lie over another one, by how much its picture differs from the
// earlier one, how many sheets of paper it takes, and milliseconds of opening, sorting and filtering, of the page and of the bare one.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [, , modules, executablePath] = process.argv;
const { chromium } = createRequire(`${modules}/`)('playwright-core');
const axe = readFileSync(createRequire(`${modules}/`).resolve('axe-core/axe.min.js'), 'utf8');
const pages = JSON.parse(readFileSync(0, 'utf8'));
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });

// All nodes, texts among them.
const nodes = (page) => page.evaluate(() => {
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
  let number = 0;
  while (walker.nextNode()) number += 1;
  return number;
});

// Milliseconds of something in the page, with the layout that follows.
const duration = (page, action, argument) => page.evaluate(([text, given]) => {
  const started = performance.now();
  new Function('given', text)(given);
  document.body.getBoundingClientRect();
  return performance.now() - started;
}, [action, argument]);
// The least of several, since a machine does other things as well.
const least = async (page, action, ...given) => {
  const times = [];
  for (const argument of given) times.push(await duration(page, action, argument));
  return Math.min(...times);
};
const FILTER = 'const field = document.getElementById("images-filter"); field.value = given; field.dispatchEvent(new Event("input"));';
const SORT = '[...document.querySelectorAll("#images th button")].find((button) => button.textContent === "Size").click();';

const openings = async (address, context) => {
  const page = await context.newPage();
  const seen = { messages: [], requests: [] };
  page.on('console', (message) => seen.messages.push(message.text()));
  page.on('pageerror', (error) => seen.messages.push(String(error)));
  page.on('request', (request) => request.url() === address || seen.requests.push(request.url()));
  const started = performance.now();
  await page.goto(address);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
  return { page, seen, open: performance.now() - started };
};

// The labels below the chart that end behind it, or behind the beginning of the next one.
const crowded = (page) => page.evaluate(() => [...document.querySelectorAll('.axis')].flatMap((axis) => {
  const shown = [...axis.querySelectorAll('span')].filter((label) => getComputedStyle(label).color !== 'rgba(0, 0, 0, 0)');
  const boxes = shown.map((label) => {
    const range = document.createRange();
    range.selectNodeContents(label);
    const { left, right } = range.getBoundingClientRect();
    const { right: end } = label.getBoundingClientRect();
    return { text: label.textContent, left, right, end: getComputedStyle(label).overflowX === 'hidden' ? end : Infinity };
  });
  const last = axis.getBoundingClientRect().right + 0.5;
  return boxes.filter(({ right, end }, place) => right > Math.min(last, end + 0.5, (boxes[place + 1]?.left ?? Infinity) - 2)).map(({ text }) => text);
}));

// By how much two pictures differ, between 0 and 1; 1 if they have other sizes.
const difference = (page, ...paths) => page.evaluate(async (addresses) => {
  const [one, other] = await Promise.all(addresses.map(async (address) => {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, image.width, image.height);
  }));
  if (one.width !== other.width || one.height !== other.height) return 1;
  let sum = 0;
  for (let at = 0; at < one.data.length; at += 1) sum += Math.abs(one.data[at] - other.data[at]);
  return sum / one.data.length / 255;
}, paths.map((path) => `data:image/png;base64,${readFileSync(path, 'base64')}`));

const all = [];
for (const { file, bare, filter, small, picture } of pages) {
  const address = pathToFileURL(file).href;
  const context = await browser.newContext({ viewport: { width: 1300, height: 900 } });
  const { page, seen, open } = await openings(address, context);
  const result = { file, ...seen, open, nodes: await nodes(page) };
  if (picture) {
    const own = await (await browser.newContext({ viewport: picture.size, bypassCSP: true })).newPage();
    await own.goto(address);
    await own.screenshot({ path: picture.path });
    if (existsSync(picture.known)) result.difference = await difference(own, picture.path, picture.known);
    await own.context().close();
  }
  result.crowded = await crowded(page);
  result.images = await page.evaluate(() => document.querySelector('#images .shown')?.textContent ?? '');
  if (await page.locator('.picture .toggle').count()) {
    await page.click('.picture .toggle button:nth-child(2)');
    result.legend = await page.evaluate(() => [...document.querySelectorAll('.picture .legend:not(.forecast) button')]
      .map((button) => [button.dataset.key, button.querySelector('strong').textContent]));
  }
  await page.evaluate(axe);
  const violations = async (one) => (await one.evaluate(() => axe.run(document, { resultTypes: ['violations'] }))).violations
    .map(({ id, nodes: [first] }) => `${id}: ${first.html}: ${first.failureSummary}`);
  result.violations = await violations(page);
  if (result.images) {
    // Up, down, and as it was.
    result.sort = await least(page, SORT, 1, 2);
    await duration(page, SORT);
    result.firstKey = await duration(page, FILTER, filter);
    result.filter = await least(page, FILTER, `${filter} `, filter, `${filter} `);
    result.found = await page.evaluate(() => document.querySelector('#images .shown').textContent);
    result.tags = await page.evaluate(() => [...document.querySelectorAll('#images td.tags')].map((cell) => cell.textContent));
    result.filteredNodes = await nodes(page);
    await duration(page, FILTER, '');
  }
  const pdf = await page.pdf({ format: 'A4', margin: { top: '1cm', right: '1cm', bottom: '1cm', left: '1cm' } });
  result.sheets = pdf.toString('latin1').match(/\/Type\s*\/Page\b/g).length;
  await page.setViewportSize({ width: 400, height: 800 });
  result.crowded.push(...await crowded(page));
  result.phone = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  result.cut = await page.evaluate(() => [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.getAttribute('aria-label') ?? one.getAttribute('aria-labelledby')));
  if (small) {
    result.violations.push(...await violations(page));
    await page.emulateMedia({ colorScheme: 'dark' });
    result.violations.push(...await violations(page));
  }
  await context.close();

  const plain = await browser.newContext({ javaScriptEnabled: false });
  const without = await plain.newPage();
  await without.goto(address);
  result.without = await without.locator('noscript table tbody tr').count();
  await plain.close();

  const other = await browser.newContext({ viewport: { width: 1300, height: 900 } });
  const plainest = await openings(pathToFileURL(bare).href, other);
  result.bare = {
    open: plainest.open,
    sort: await least(plainest.page, 'sortBySize()', 1, 2),
    firstKey: await duration(plainest.page, 'filterBy(given)', filter),
    filter: await least(plainest.page, 'filterBy(given)', `${filter} `, filter, `${filter} `),
  };
  await other.close();
  all.push(result);
}
await browser.close();
process.stdout.write(JSON.stringify(all));
