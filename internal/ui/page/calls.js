// Calls in flight: streams, WebSockets, and calls without an answer so far.
import { ask, byId, count, el, fill, shortBytes } from './dom.js'

const most = 50 // rows

let latest = 0
// showCalls loads and lists the calls in flight. end(call) ends one.
export async function showCalls(end) {
  const mine = ++latest
  const { calls, total } = await ask('GET', 'calls')
  if (mine !== latest) return
  byId('calls-total').textContent = total > most ? `The ${most} longest of ${count(total)}` : ''
  fill(byId('live'), calls.slice(0, most).map((call) => row(call, end)), 'No calls')
}

function row(call, end) {
  const cell = (label, ...children) => el('td', { 'data-label': label }, ...children)
  const name = `${call.issuer}/${call.token_id}`
  return el('tr', {},
    el('th', { scope: 'row', 'data-label': 'Token' }, name),
    cell('Subject', call.subject || '–'),
    cell('Provider', call.provider),
    cell('Model', call.model || '–'),
    cell('State', call.websocket ? 'WebSocket' : call.status ? 'answering' : 'waiting for the provider'),
    cell('Lasts', lasts(Date.now() - Date.parse(call.since))),
    cell('Sent', shortBytes(call.bytes_in)),
    cell('Received', shortBytes(call.bytes_out)),
    el('td', { class: 'actions' }, el('button', {
      type: 'button', class: 'link danger', 'data-key': `end ${call.id}`, 'aria-label': `End a call of ${name}`, click: () => end(call),
    }, 'End…')))
}

// lasts writes a length of time with two units at most.
function lasts(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`
}
