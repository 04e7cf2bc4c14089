import OpenAI from 'openai'

const relay = 'http://localhost:8080'

// The page holds no API key. Its backend gives it a token that is valid for a
// few calls and a few minutes.
let token
async function mint() {
  const res = await fetch('/token', { method: 'POST' })
  if (!res.ok) throw new Error(`the page's backend responded with ${res.status}`)
  return (await res.json()).token
}

const openai = new OpenAI({
  baseURL: `${relay}/api/demo/v1`,
  apiKey: async () => token ??= await mint(), // the SDK calls this before each request
  dangerouslyAllowBrowser: true, // this warns about real keys, not tokens
})

// ask requests a streamed answer. It renews an expired token once.
async function ask(messages) {
  const request = { model: 'demo', messages, stream: true }
  try {
    return await openai.chat.completions.create(request)
  } catch (err) {
    if (err.code !== 'token_expired') throw err
    token = undefined
    return openai.chat.completions.create(request)
  }
}

const talk = document.querySelector('#talk')
const form = document.querySelector('form')
const { text, send } = form.elements
const messages = []

function paragraph(kind, content = '') {
  const p = document.createElement('p')
  p.className = kind
  p.textContent = content
  talk.append(p)
  p.scrollIntoView()
  return p
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  send.disabled = true
  messages.push({ role: 'user', content: text.value })
  paragraph('you', text.value)
  form.reset()
  text.focus()
  const answer = paragraph('answer writing')
  try {
    for await (const chunk of await ask(messages)) {
      answer.append(chunk.choices[0]?.delta.content ?? '')
      answer.scrollIntoView({ block: 'end' })
    }
    messages.push({ role: 'assistant', content: answer.textContent })
  } catch (err) {
    messages.pop() // it was not answered
    // The relay's errors are readable text, also in the middle of an answer.
    paragraph('wrong', err.error?.message ?? err.message).role = 'alert'
  }
  answer.classList.remove('writing')
  send.disabled = false
})

talk.textContent = ''
send.disabled = false
