// Calls, tokens and cost over time.
import { add, amounts, ask, byId, count, day, dollars, el, nothing, shortCount, shortDollars } from './dom.js'
import { chart } from './chart.js'

const colors = 8 // the last is for all others together

const unknown = '(none)'
const metrics = [
  { key: 'calls', title: 'Calls', full: count, format: shortCount, size: Number, whole: true },
  { key: 'tokens', title: 'Tokens', full: count, format: shortCount, size: Number, whole: true },
  { key: 'cost', title: 'Cost', full: dollars, format: shortDollars, size: (nanos) => Number(nanos) / 1e9, whole: false },
].map((metric) => ({ ...metric, plot: chart(metric.title) }))

byId('plots').append(...metrics.map(({ plot }) => plot.figure))
const form = byId('usage-form')
form.addEventListener('change', () => form.dispatchEvent(new Event('shown')))

// onUsage sets a callback for when the operator changes the selection.
export const onUsage = (callback) => form.addEventListener('shown', callback)

let latest = 0
// showUsage loads and draws the selected usage.
export async function showUsage() {
  const mine = ++latest
  const by = form.elements.by.value
  const length = Number(form.elements.days.value)
  const days = Array.from({ length }, (_, i) => day(length - 1 - i))
  byId('usage').setAttribute('aria-busy', 'true')
  try {
    const series = await load(by, days)
    if (mine !== latest) return // the selection has changed meanwhile
    drawPlots(days, series)
    drawSums(series)
  } finally {
    if (mine === latest) byId('usage').removeAttribute('aria-busy')
  }
}

// load returns the largest series and the rest, each with the amounts of all days. The
// relay ranks subjects, because there may be very many.
async function load(by, days) {
  const range = { from: days[0], to: days.at(-1) }
  const report = async (query) => (await ask('GET', 'usage', { ...range, ...query })).usage
  return by === 'subject' ? loadLargest(by, days, report) : loadAll(by, days, await report({ by: `day,${by}` }))
}

function loadAll(by, days, rows) {
  const ranked = rank(by, rows)
  const names = ranked.slice(0, ranked.length > colors ? colors - 1 : colors)
  const series = new Map(names.map((name, color) => [name, make(name, color, days)]))
  const rest = make(`${ranked.length - names.length} others`, colors - 1, days)
  for (const row of rows) note(series.get(row[by] ?? '') ?? rest, row)
  return ranked.length > names.length ? [...series.values(), rest] : [...series.values()]
}

// loadLargest asks for the largest, and for the days of each. The rest is what remains of
// the total. The API cannot select an empty value, so that is among the rest.
async function loadLargest(by, days, report) {
  const [ranked, totals] = await Promise.all([report({ by, top: 'usd', limit: colors }), report({ by: 'day' })])
  const names = ranked.map((row) => row[by] ?? '').filter(Boolean).slice(0, colors - 1)
  const series = names.map((name, color) => make(name, color, days))
  const rest = make('others', colors - 1, days)
  for (const row of totals) note(rest, row)
  await Promise.all(series.map(async (one) => {
    for (const row of await report({ by: 'day', [by]: one.name })) note(one, row)
  }))
  for (const one of series) subtract(rest, one)
  return rest.sum.calls || rest.sum.cost ? [...series, rest] : series
}

// rank returns the values of a dimension, the costliest first.
function rank(by, rows) {
  const sums = new Map()
  for (const row of rows) {
    const name = row[by] ?? ''
    if (!sums.has(name)) sums.set(name, nothing())
    add(sums.get(name), amounts(row))
  }
  const less = (a, b) => (a < b ? 1 : a > b ? -1 : 0)
  return [...sums].sort(([, a], [, b]) => less(a.cost, b.cost) || less(a.tokens, b.tokens) || less(a.calls, b.calls)).map(([name]) => name)
}

const make = (name, color, days) => ({
  name: name || unknown, color, sum: nothing(), days: new Map(days.map((date) => [date, nothing()])),
})

function note(series, row) {
  const used = amounts(row)
  add(series.sum, used)
  const date = series.days.get(row.day)
  if (date) add(date, used)
}

function subtract(from, one) {
  const less = ({ calls, tokens, cost }) => ({ calls: -calls, tokens: -tokens, cost: -cost })
  add(from.sum, less(one.sum))
  for (const [date, used] of one.days) add(from.days.get(date), less(used))
}

function total(series) {
  const sum = nothing()
  for (const one of series) add(sum, one.sum)
  return sum
}

function drawPlots(days, series) {
  const sum = total(series)
  for (const { key, plot, full, format, size, whole } of metrics) {
    plot.draw({
      days, format, whole, total: full(sum[key]),
      series: series.map(({ color, days: used }) => ({ color, values: days.map((date) => size(used.get(date)[key])) })),
      describe: (i) => {
        const parts = series.map((one) => [one.name, one.days.get(days[i])[key]]).filter(([, n]) => n)
        return `${days[i]}: ${parts.map(([name, n]) => `${name} ${full(n)}`).join(', ') || 'nothing'}`
      },
    })
  }
}

function drawSums(series) {
  const [body] = byId('sums').tBodies
  const cells = (sum) => metrics.map(({ key, full }) => el('td', {}, full(sum[key])))
  body.replaceChildren(...series.map(({ name, color, sum }) => el('tr', {},
    el('th', { scope: 'row' }, el('span', { class: `swatch c${color}`, 'aria-hidden': 'true' }), name), ...cells(sum))))
  byId('sums').tFoot.replaceChildren(el('tr', {}, el('th', { scope: 'row' }, series.length ? 'Total' : 'Nothing was used'), ...cells(total(series))))
}
