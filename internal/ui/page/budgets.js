// The operator's limits, and how full they are.
import { amount, ask, byId, day, el, fill, minute, quantity } from './dom.js'

const fullest = 3 // holders that are shown for a limit of each subject, issuer or token
const unselectable = 20 // extra rows, because each issuer may have one without subject or token

// meter shows how full a limit is.
export function meter({ unit, amount: limit, used, ends }) {
  const part = Number(limit) > 0 ? Math.min(1, Number(used) / Number(limit)) : 1
  const text = `${quantity(unit, used)} of ${amount(unit, limit)}`
  return el('div', { title: ends ? `until ${minute(ends)} UTC` : null },
    el('meter', { min: 0, max: 1, low: 0.8, high: 0.95, optimum: 0, value: part, 'aria-label': text }), ' ', el('span', { class: 'soft' }, text))
}

const unitOf = (limit) => ['usd', 'tokens', 'calls'].find((unit) => limit[unit] != null) ?? limit.unit

// holderOf returns the holder of a limit; null means all in its scope.
function holderOf({ scope, issuer, subject, id }) {
  if (!issuer) return null
  return scope === 'token' ? { issuer, id } : scope === 'subject' ? { issuer, subject } : { issuer }
}

const nameOf = (holder) => Object.values(holder).join('/')

// showBudgets loads and lists the limits. remove is called for one that the operator
// removes.
export async function showBudgets(remove) {
  const { limits } = await ask('GET', 'limits')
  const paint = (uses) => fill(byId('limits'), limits.map((limit, i) => row(limit, uses[i], remove)), 'No limit is set besides those in tokens')
  if (!painted) paint(limits.map(() => [])) // finding the fullest limits may take a while
  painted = true
  const find = finder()
  paint(await Promise.all(limits.map(find)))
}
let painted = false

function row(limit, uses, remove) {
  const holder = holderOf(limit)
  const unit = unitOf(limit)
  const name = holder ? `${limit.scope} ${nameOf(holder)}` : `each ${limit.scope}`
  const written = amount(unit, limit[unit] ?? limit.amount) + (limit.per ? ` per ${limit.per}` : '')
  const used = uses.map(({ of, use }) => el('div', {}, holder ? null : `${nameOf(of)} `, meter(use)))
  return el('tr', {},
    el('th', { scope: 'row', 'data-label': 'For' }, name),
    el('td', { 'data-label': 'Limit' }, written),
    el('td', { 'data-label': 'Used' }, el('div', {}, ...(used.length ? used : ['–']))),
    el('td', { 'data-label': 'Set in' }, limit.from === 'config' ? 'config' : 'admin API'),
    el('td', { class: 'actions' }, limit.from === 'config' ? null
      : el('button', {
        class: 'link danger', type: 'button', 'data-key': `${name} ${written}`, 'aria-label': `Remove ${written} for ${name}`, click: () => remove(limit, unit),
      }, 'Remove')))
}

// rankings caches the holders with the most usage. Ranking very many takes long, so a
// ranking is kept for a multiple of that time.
const rankings = new Map()
const rest = 20

// finder returns a function that finds how full a limit is for its holder, or for the
// holders that used most of it. Usage only selects the holders: the exact amounts are in
// the records of tokens.
function finder() {
  const cached = (load) => {
    const known = new Map()
    return (...key) => {
      const name = JSON.stringify(key)
      if (!known.has(name)) known.set(name, load(...key))
      return known.get(name)
    }
  }
  const record = cached(async (scope, holder) => {
    if (scope === 'token') return ask('GET', 'token', holder).catch(() => null) // not used yet
    if (holder.subject === '') return null // the API cannot select it
    return (await ask('GET', 'tokens', { ...holder, limit: 1 })).tokens[0]
  })
  const largest = cached(async (scope, from, unit) => {
    const name = JSON.stringify([scope, from, unit])
    const known = rankings.get(name)
    if (known?.until > Date.now()) return known.holders
    const began = Date.now()
    const holders = await rank(scope, from, unit)
    rankings.set(name, { holders, until: Date.now() + rest * (Date.now() - began) })
    return holders
  })
  const rank = async (scope, from, unit) => {
    const by = { token: 'issuer,token', subject: 'issuer,subject', issuer: 'issuer' }[scope]
    const { usage } = await ask('GET', 'usage', { by, from, top: unit, limit: fullest + unselectable })
    return usage.map((row) => pick(scope, row)).filter(({ subject, id }) => subject !== '' && id !== '').slice(0, fullest)
  }

  return async (limit) => {
    const unit = unitOf(limit)
    const holder = holderOf(limit)
    const holders = holder ? [holder] : await largest(limit.scope, start(limit.per), unit)
    const found = await Promise.all(holders.map(async (of) => ({ of, use: inForce(await record(limit.scope, of), limit, unit) })))
    return found.filter(({ use }) => use)
  }
}

const pick = (scope, { issuer, subject = '', token }) =>
  (scope === 'token' ? { issuer, id: token } : scope === 'subject' ? { issuer, subject } : { issuer })

// start returns the first day of a limit's window. Without a period, it looks back for
// 30 days.
const start = (per) => (per === 'day' ? day() : per === 'month' ? `${day().slice(0, 8)}01` : day(30))

// inForce returns a limit as it applies to a token, or undefined if another overrides it.
function inForce(record, limit, unit) {
  return record?.limits?.find((use) => use.scope === limit.scope && use.unit === unit &&
    (use.per ?? '') === (limit.per ?? '') && String(use.amount) === String(limit[unit] ?? limit.amount))
}
