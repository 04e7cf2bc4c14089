// Stacked bars, one for each day, as SVG.
import { el } from './dom.js'

const left = 46
const bottom = 18
const top = 8

// chart makes a plot. draw takes { days, series, total, format, whole, describe }. Series
// are { color, values }, with a value for each day. format writes a value at the axis, and
// whole is true for values without fractions. describe writes all values of a day in full.
export function chart(title) {
  const total = el('b')
  const svg = el('svg', { role: 'img', tabindex: 0, 'aria-label': title })
  const readout = el('p', { class: 'readout', 'aria-live': 'polite' })
  const figure = el('figure', {}, el('figcaption', {}, el('span', {}, title), total), svg, readout)
  let shown
  let at = -1

  const plot = () => {
    if (shown) drawBars(svg, shown)
    point(at)
  }
  function point(index) {
    if (!shown) return
    at = Math.min(index, shown.days.length - 1)
    svg.querySelector('.mark')?.remove()
    readout.textContent = at < 0 ? '' : shown.describe(at)
    if (at < 0) return
    const { height, step } = area(svg, shown)
    svg.append(el('rect', { class: 'mark', x: left + at * step, y: top, width: Math.max(step, 1), height }))
  }

  svg.addEventListener('pointermove', (event) => {
    if (!shown) return
    const { step } = area(svg, shown)
    point(Math.max(0, Math.floor((event.clientX - svg.getBoundingClientRect().left - left) / step)))
  })
  svg.addEventListener('pointerleave', () => point(-1))
  svg.addEventListener('blur', () => point(-1))
  svg.addEventListener('keydown', (event) => {
    const last = (shown?.days.length ?? 0) - 1
    const to = { ArrowLeft: at < 0 ? last : Math.max(0, at - 1), ArrowRight: at + 1, Home: 0, End: last, Escape: -1 }[event.key]
    if (to == null) return
    event.preventDefault()
    point(to)
  })
  new ResizeObserver(plot).observe(svg)

  return {
    figure,
    draw(data) {
      shown = data
      total.textContent = data.total
      svg.setAttribute('aria-label', `${title}: ${data.total}. Use the arrow keys to read single days.`)
      plot()
    },
  }
}

function area(svg, { days }) {
  const width = Math.max(svg.clientWidth - left, 1)
  return { width, height: svg.clientHeight - top - bottom, step: width / days.length }
}

function drawBars(svg, { days, series, format, whole }) {
  const { width, height, step } = area(svg, { days })
  const sums = days.map((_, i) => series.reduce((sum, { values }) => sum + values[i], 0))
  const ticks = scale(Math.max(...sums), whole)
  const y = (value) => top + height - (value / ticks.at(-1)) * height
  svg.setAttribute('viewBox', `0 0 ${left + width} ${svg.clientHeight}`)

  const grid = ticks.flatMap((value) => [
    el('line', { class: 'grid', x1: left, x2: left + width, y1: y(value), y2: y(value) }),
    el('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' }, format(value)),
  ])

  const gap = step > 4 ? 1 : 0
  const below = days.map(() => 0)
  const bars = series.map(({ color, values }) => {
    let d = ''
    values.forEach((value, i) => {
      if (!value) return
      const from = y(below[i])
      below[i] += value
      d += `M${(left + i * step + gap / 2).toFixed(2)} ${from.toFixed(2)}V${y(below[i]).toFixed(2)}h${(step - gap).toFixed(2)}V${from.toFixed(2)}z`
    })
    return el('path', { class: `c${color}`, d })
  })

  const every = Math.ceil(days.length / Math.max(1, Math.floor(width / 70)))
  const dates = days.flatMap((date, i) => (i % every || left + i * step + 35 > left + width ? [] : [
    el('text', { x: left + i * step, y: svg.clientHeight - 4 }, days.length > 120 ? date.slice(0, 7) : date.slice(5)),
  ]))
  svg.replaceChildren(...grid, ...bars, ...dates)
}

// scale returns round values from 0 to the largest or just above.
function scale(largest, whole) {
  if (!largest) return [0, 1]
  const power = 10 ** Math.floor(Math.log10(largest / 3))
  const round = [1, 2, 2.5, 5, 10].find((n) => n * power * 3 >= largest) * power
  const step = whole ? Math.ceil(round) : round
  const ticks = [0]
  while (ticks.at(-1) < largest) ticks.push(ticks.length * step)
  return ticks
}
