// Elements, amounts and the API. Text enters the page only as text nodes.

const svgElements = new Set(['svg', 'path', 'line', 'rect', 'text'])

// el makes an element. Properties that are functions become listeners, and the others
// attributes; null and false leave one out.
export function el(tag, properties = {}, ...children) {
  const element = svgElements.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else if (value != null && value !== false) element.setAttribute(name, value === true ? '' : value)
  }
  element.append(...children.filter((child) => child != null))
  return element
}

export const byId = (id) => document.getElementById(id)

// fill replaces the rows of a table, or says that there are none. The focus stays on the
// button with the same data-key.
export function fill(table, rows, none) {
  const key = table.contains(document.activeElement) && document.activeElement.dataset.key
  const columns = table.tHead.rows[0].cells.length
  table.tBodies[0].replaceChildren(...(rows.length ? rows : [el('tr', {}, el('td', { colspan: columns }, none))]))
  if (key) table.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus()
}

// ask sends a request to the relay's admin API, through the command that serves the page.
export async function ask(method, path, query = {}, body) {
  const given = Object.entries(query).filter(([, value]) => value != null)
  const uri = given.length ? `api/${path}?${new URLSearchParams(given)}` : `api/${path}`
  let res
  try {
    res = await fetch(uri, { method, body: body && JSON.stringify(body), headers: body ? { 'content-type': 'application/json' } : {} })
  } catch {
    throw new Error('`caddy relayapi ui` does not answer; it may have ended')
  }
  const answer = await res.json()
  if (!res.ok) throw new Error(answer.error)
  return answer
}

// nano reads a decimal string of dollars. Money is counted in integers of 10⁻⁹ dollars.
export function nano(usd) {
  const [whole, decimals = ''] = String(usd ?? '0').split('.')
  return BigInt(whole + decimals.padEnd(9, '0'))
}

const grouped = new Intl.NumberFormat('en')
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 })

export const count = (n) => grouped.format(n)
export const shortCount = (n) => short.format(n)
export const shortBytes = (n) => `${short.format(n)}B`
export const shortDollars = (n) => `$${n >= 1 || n === 0 ? short.format(n) : Number(n.toPrecision(2))}`

// dollars writes an amount in full, with at least two decimals.
export function dollars(amount) {
  const digits = String(amount).padStart(10, '0')
  const decimals = digits.slice(-9).replace(/0{1,7}$/, '')
  return `$${grouped.format(BigInt(digits.slice(0, -9)))}.${decimals}`
}

// quantity writes how much of a unit there is, and amount with its name.
export const quantity = (unit, value) => (unit === 'usd' ? dollars(nano(value)) : count(value))
export const amount = (unit, value) => quantity(unit, value) + (unit === 'usd' ? '' : ` ${value === 1 ? unit.slice(0, -1) : unit}`)

// Reasoning is left out, because it is part of output.
const kinds = ['input', 'cache_read', 'cache_write', 'cache_write_hour', 'output', 'audio_input', 'audio_output', 'image_input', 'image_output']

// amounts returns calls, tokens and cost of a row or of a token's usage.
export const amounts = (usage = {}) => ({
  calls: usage.calls ?? 0,
  tokens: kinds.reduce((sum, kind) => sum + (usage[kind] ?? 0), 0),
  cost: usage.cost_usd != null ? nano(usage.cost_usd) : BigInt(usage.cost_nanousd ?? 0),
})

export const nothing = () => ({ calls: 0, tokens: 0, cost: 0n })

export function add(to, more) {
  for (const key of ['calls', 'tokens', 'cost']) to[key] += more[key]
}

// day writes the day that is some days before today, in UTC.
export const day = (ago = 0) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10)

export const minute = (time) => (time ? `${time.slice(0, 10)} ${time.slice(11, 16)}` : '–')
