// The list of tokens: search, pages, and actions.
import { amounts, ask, byId, count, dollars, el, fill, minute } from './dom.js'
import { meter } from './budgets.js'

const pageSize = 50

const form = byId('search')
const cursors = [''] // where the pages up to this one begin
let next = ''
let act = {}
let latest = 0

// startTokens sets the actions of a token's buttons, { change(record), revoke(record) },
// and failed(error), which shows errors of loading.
export function startTokens(actions) {
  act = actions
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    turn(() => cursors.splice(0, cursors.length, ''))
  })
  byId('next').addEventListener('click', () => turn(() => cursors.push(next)))
  byId('previous').addEventListener('click', () => turn(() => cursors.pop()))
}

let turning = false
// turn moves to another page. It does nothing while a page loads: a second click would
// skip a page.
async function turn(move) {
  if (turning) return
  turning = true
  move()
  byId('tokens').setAttribute('aria-busy', 'true')
  await showTokens().catch(act.failed)
  byId('tokens').removeAttribute('aria-busy')
  turning = false
}

// showTokens loads and lists the current page.
export async function showTokens() {
  const mine = ++latest
  const filter = [...new FormData(form), ['after', cursors.at(-1)]].map(([name, value]) => [name, value.trim()])
  const page = await ask('GET', 'tokens', { ...Object.fromEntries(filter.filter(([, value]) => value)), limit: pageSize })
  if (mine !== latest) return

  next = page.next ?? ''
  byId('next').disabled = !next
  byId('previous').disabled = cursors.length === 1
  byId('place').textContent = `Page ${cursors.length}`
  fill(byId('records'), page.tokens.map(row), 'No tokens')
}

function row(record) {
  const used = amounts(record.usage)
  const name = `${record.issuer}/${record.id}`
  const cell = (label, ...children) => el('td', { 'data-label': label }, ...children)
  const button = (action, label, style) => el('button', {
    type: 'button', class: `link ${style}`, 'data-key': `${action} ${name}`, 'aria-label': `${label} ${name}`, click: () => act[action](record),
  }, `${label}…`)

  return el('tr', {},
    el('th', { scope: 'row', 'data-label': 'Token' }, el('div', {}, name, record.label ? el('div', { class: 'soft' }, record.label) : null)),
    cell('Subject', record.subject || '–'),
    cell('Provider', record.provider),
    cell('Status', el('span', { class: `status ${record.status}` }, record.status)),
    cell('Calls', count(used.calls)),
    cell('Tokens', count(used.tokens)),
    cell('Cost', dollars(used.cost)),
    cell('Limits', limits(record)),
    cell('Last used', minute(record.last_seen)),
    cell('Expires', minute(record.expires_at)),
    el('td', { class: 'actions' }, button('change', 'Change', ''), record.status === 'revoked' ? null : button('revoke', 'Revoke', 'danger')))
}

// limits shows the fullest limit in force, and names the others.
function limits(record) {
  const share = (use) => (Number(use.amount) > 0 ? Number(use.used) / Number(use.amount) : 1)
  const sorted = [...(record.limits ?? [])].sort((a, b) => share(b) - share(a))
  if (!sorted.length) return '–'
  const [first, ...others] = sorted
  const of = [first.scope === 'token' ? '' : `of the ${first.scope}`, first.per ? `per ${first.per}` : ''].filter(Boolean).join(' ')
  return el('div', {}, meter(first), of ? el('div', { class: 'soft' }, of) : null,
    others.length ? el('div', { class: 'soft' }, `and ${others.length} more`) : null)
}
