// The page as a whole: its views and its dialogs.
import { ask, byId, day, el } from './dom.js'
import { onUsage, showUsage } from './usage.js'
import { showCalls } from './calls.js'
import { showBudgets } from './budgets.js'
import { showTokens, startTokens } from './tokens.js'

const every = 10_000 // milliseconds between updates of the page
const oftener = 2_000 // milliseconds between updates of the calls

const message = byId('message')
function say(text, bad = false) {
  message.textContent = text
  message.classList.toggle('error', bad)
}
const failed = (error) => say(error.message, true)

// show loads parts of the page. If one fails, the others still load.
async function show(...parts) {
  const results = await Promise.allSettled(parts.map((part) => part()))
  const wrong = results.find(({ status }) => status === 'rejected')
  if (wrong) failed(wrong.reason)
  else if (message.classList.contains('error')) say('')
}
const budgets = () => showBudgets(removeLimit)
const calls = () => showCalls(end)
const showAll = () => show(showUsage, calls, budgets, showTokens)

async function showProviders() {
  const { usage } = await ask('GET', 'usage', { by: 'provider', from: day(30) })
  byId('providers').replaceChildren(...[...new Set(usage.map((row) => row.provider))].map((value) => el('option', { value })))
}

// openDialog opens a dialog and returns its form, empty.
function openDialog(id) {
  const form = byId(id).querySelector('form')
  form.reset()
  const error = form.querySelector('.error')
  if (error) error.textContent = ''
  byId(id).showModal()
  return form
}

// onSubmit sends the values of a dialog. The dialog closes on success, and shows the
// error otherwise.
function onSubmit(id, send) {
  const form = byId(id).querySelector('form')
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const buttons = form.querySelectorAll('button')
    buttons.forEach((button) => { button.disabled = true })
    try {
      await send(form)
      byId(id).close()
      await showAll()
    } catch (error) {
      form.querySelector('.error').textContent = error.message
    } finally {
      buttons.forEach((button) => { button.disabled = false })
    }
  })
}

const text = (form, name) => form.elements[name].value.trim()
const nameOf = ({ issuer, id }) => `${issuer}/${id}`
const ended = (n) => (n ? `, and ended ${n} ${n === 1 ? 'call' : 'calls'}` : '')

// draft returns the claims in the minting dialog, without empty ones.
function draft(form) {
  const claims = { provider: text(form, 'provider') }
  if (text(form, 'subject')) claims.sub = text(form, 'subject')
  if (text(form, 'hours')) claims.exp = Math.floor(Date.now() / 1000 + Number(text(form, 'hours')) * 3600)
  const limits = {}
  for (const name of ['calls', 'tokens', 'rpm']) if (text(form, name)) limits[name] = Number(text(form, name))
  if (text(form, 'usd')) limits.usd = text(form, 'usd')
  if (Object.keys(limits).length) claims.limits = limits
  const models = text(form, 'models').split(',').map((model) => model.trim()).filter(Boolean)
  if (models.length) claims.allow = { models }
  return claims
}

onSubmit('mint', async (form) => {
  const minted = await ask('POST', 'tokens', {}, draft(form))
  byId('minted-id').textContent = `${nameOf(minted)}, until ${new Date(minted.expires_at).toLocaleString()}`
  byId('minted-token').value = minted.token
  byId('copy').textContent = 'Copy'
  byId('minted').showModal()
})
byId('minted').querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault()
  byId('minted').close()
})
byId('minted').addEventListener('close', () => { byId('minted-token').value = '' })
byId('copy').addEventListener('click', async () => {
  byId('minted-token').select()
  await navigator.clipboard.writeText(byId('minted-token').value)
    .then(() => { byId('copy').textContent = 'Copied' }, () => {}) // if the browser does not permit this, the text is still selected
})

let chosen // the record or call that a dialog is about
const limitNames = ['calls_limit', 'tokens_limit', 'usd_limit']

function change(record) {
  chosen = record
  const form = openDialog('change')
  form.querySelector('.name').textContent = nameOf(record)
  for (const name of limitNames) form.elements[name].value = record[name] ?? ''
  form.elements.label.value = record.label ?? ''
  form.elements.disabled.checked = record.status === 'disabled'
}

onSubmit('change', async (form) => {
  const changes = {}
  for (const name of limitNames) {
    const value = text(form, name)
    if (value === String(chosen[name] ?? '')) continue
    changes[name] = value === '' ? null : name === 'usd_limit' ? value : Number(value)
  }
  if (form.elements.label.value !== (chosen.label ?? '')) changes.label = form.elements.label.value
  const disabled = form.elements.disabled.checked
  if (disabled !== (chosen.status === 'disabled')) changes.disabled = disabled
  if (!Object.keys(changes).length) return
  const { issuer, id } = chosen
  const changed = await ask('PATCH', 'token', { issuer, id }, changes)
  say(`Changed ${nameOf(chosen)}${ended(changed.ended_calls)}.`)
})

function revoke(record) {
  chosen = record
  openDialog('revoke').querySelector('.name').textContent = nameOf(record)
}

onSubmit('revoke', async () => {
  const { issuer, id } = chosen
  const revoked = await ask('DELETE', 'token', { issuer, id })
  say(`Revoked ${nameOf(chosen)}${ended(revoked.ended_calls)}.`)
})

function end(call) {
  chosen = call
  openDialog('end').querySelector('.name').textContent = `${call.issuer}/${call.token_id}`
}

onSubmit('end', async () => {
  const { issuer, token_id: id } = await ask('DELETE', 'call', { id: chosen.id })
  say(`Ended a call of ${nameOf({ issuer, id })}.`)
})

onSubmit('limit', async (form) => {
  const scope = text(form, 'scope')
  const limit = { scope }
  if (text(form, 'issuer')) limit.issuer = text(form, 'issuer')
  if (text(form, 'holder')) limit[scope === 'token' ? 'id' : 'subject'] = text(form, 'holder')
  if (text(form, 'per')) limit.per = text(form, 'per')
  const unit = text(form, 'unit')
  limit[unit] = unit === 'usd' ? text(form, 'amount') : Number(text(form, 'amount'))
  const set = await ask('PUT', 'limits', {}, limit)
  say(`Set the limit${ended(set.ended_calls)}.`)
})

async function removeLimit({ scope, issuer, subject, id, per }, unit) {
  try {
    await ask('DELETE', 'limits', { scope, issuer, subject, id, per, unit })
    say('Removed the limit.')
    await show(budgets, showTokens)
  } catch (error) {
    failed(error)
  }
}

for (const button of document.querySelectorAll('[data-opens]')) button.addEventListener('click', () => openDialog(button.dataset.opens))
for (const button of document.querySelectorAll('[data-closes]')) button.addEventListener('click', () => button.closest('dialog').close())

startTokens({ change, revoke, failed })
onUsage(() => show(showUsage))

// repeat calls a function periodically. It waits for one call to end before the next.
async function repeat(what, after) {
  if (!document.hidden && !document.querySelector('dialog[open]')) await what()
  setTimeout(repeat, after, what, after)
}
repeat(showAll, every)
setTimeout(repeat, oftener, () => show(calls), oftener)
showProviders().catch(() => {}) // they are only suggestions
