// What is known of the engine: rows, samples and events that it sends, and the ways to ask it for more.

const KEPT = 150 // samples a container: five minutes
const EVENTS = 1000

export const engine = new EventTarget()
export const rows = new Map()
export const samples = new Map() // id → [{cpu, memory, limit, down, up, net, read, written, processes}]
const counters = new Map() // id → {time, received, sent} of the last look
export const events = [] // newest first
export const state = { link: 'connecting', trouble: '' }

/** Ask for JSON. Throws an Error with the engine's words. */
export async function ask(path) {
  return call('GET', path)
}

/** Have something changed. Throws an Error with the engine's words. */
export async function change(path) {
  return call('POST', path)
}

async function call(method, path) {
  let answer
  try {
    answer = await fetch(path, { method, credentials: 'same-origin', cache: 'no-store' })
  } catch {
    throw new Error('minidock ui does not answer')
  }
  if (answer.status === 204) return null
  const body = await answer.json().catch(() => null)
  if (answer.status === 401) tell('over')
  if (!answer.ok) throw Object.assign(new Error(body?.message ?? `the server answered ${answer.status}`), { status: answer.status })
  return body
}

/** Open a websocket of the page's own server. */
export function socket(path) {
  const url = new URL(path, document.baseURI)
  url.protocol = 'ws:'
  url.hash = ''
  const opened = new WebSocket(url)
  opened.binaryType = 'arraybuffer'
  return opened
}

/** Close a websocket that nobody listens to any more; browsers complain of one that is closed before it is open. */
export function leave(opened) {
  opened.onmessage = opened.onclose = opened.onerror = null
  if (opened.readyState === WebSocket.CONNECTING) opened.onopen = () => opened.close()
  else opened.close()
}

let wait = 500
let live = null
let timer = 0

/** Follow the engine from now on, and again whenever the connection is lost. */
export function connect() {
  clearTimeout(timer)
  live = socket('live')
  live.onmessage = (message) => take(JSON.parse(message.data))
  live.onopen = () => {
    wait = 500
    quiet()
  }
  live.onclose = () => {
    if (state.link === 'over') return
    tell('lost')
    timer = setTimeout(retry, wait)
    wait = Math.min(wait * 1.6, 5000)
  }
}

/** Try whether the server is there again, and knows this session: only HTTP says which. */
export async function retry() {
  clearTimeout(timer)
  try {
    await ask('about')
    connect()
  } catch (error) {
    if (error.status === 404) tell('over') // another server by now: its page is elsewhere
    if (error.status === undefined) state.trouble = ''
    engine.dispatchEvent(new CustomEvent('link'))
    if (state.link !== 'over') timer = setTimeout(retry, wait)
  }
}

function quiet() {
  if (live?.readyState === WebSocket.OPEN) live.send(document.hidden ? 'quiet' : 'loud')
}
document.addEventListener('visibilitychange', quiet)

function tell(link) {
  if (state.link === link) return
  state.link = link
  engine.dispatchEvent(new CustomEvent('link'))
}

function take(message) {
  if (message.type === 'rows') takeRows(message)
  else if (message.type === 'stats') takeStats(message)
  else if (message.type === 'events') {
    events.unshift(...message.events.reverse())
    events.length = Math.min(events.length, EVENTS)
    engine.dispatchEvent(new CustomEvent('events', { detail: message.events }))
  } else {
    state.trouble = message.message ?? message.error ?? ''
    state.link = 'open'
    engine.dispatchEvent(new CustomEvent('link'))
  }
}

function takeRows({ all, changed, gone }) {
  state.trouble = ''
  if (all) {
    const now = new Set(changed.map((row) => row.id))
    gone = [...rows.keys()].filter((id) => !now.has(id))
  }
  for (const row of changed) {
    row.running = row.state === 'running' || row.state === 'paused' || row.state === 'restarting'
    row.words = [row.name, row.image, row.id, row.status, ...Object.values(row.labels)].join('\n').toLowerCase()
    rows.set(row.id, row)
  }
  for (const id of gone) {
    rows.delete(id)
    samples.delete(id)
  }
  tell('open')
  engine.dispatchEvent(new CustomEvent('rows', { detail: { changed: changed.map((row) => row.id), gone, all } }))
}

function takeStats({ time, of }) {
  for (const [id, [cpu, memory, limit, received, sent, read, written, processes]] of Object.entries(of)) {
    const before = counters.get(id)
    counters.set(id, { time, received, sent })
    // What is counted from the look before takes two; after a restart the counters begin again.
    if (!before || cpu === null) continue
    const passed = (time - before.time) / 1000
    const per = (now, then) => (passed <= 0 ? 0 : Math.max(0, now - then) / passed)
    const [down, up] = [per(received, before.received), per(sent, before.sent)]
    const list = samples.get(id) ?? []
    samples.set(id, list)
    list.push({ cpu, memory, limit, down, up, net: down + up, read, written, processes })
    if (list.length > KEPT) list.shift()
  }
  for (const id of counters.keys()) {
    if (id in of) continue
    counters.delete(id)
    samples.delete(id)
  }
  engine.dispatchEvent(new CustomEvent('stats'))
}

/** The last events before the page was opened; asked for once. */
let before = null
export function history() {
  before ??= ask('events').then((found) => {
    const last = events.at(-1)
    const older = found.reverse().filter((one) => !last || one.time < last.time)
    events.push(...older)
    events.length = Math.min(events.length, EVENTS)
  }).catch((error) => {
    before = null
    throw error
  })
  return before
}
