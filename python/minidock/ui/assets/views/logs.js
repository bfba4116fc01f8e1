// A container's log: it follows, it can be searched, and it never holds more than so many lines.
import { h, put, text } from '../dom.js'
import { engine, leave, rows, socket } from '../engine.js'
import { clock, plural } from '../format.js'
import { search } from '../parts.js'

const MOST = 5000 // lines
const FIRST = 1000
const CHUNK = 100 // lines that are laid out, left out and dropped together

export function show(panel, row) {
  const list = h('div.log', { role: 'log', tabIndex: 0, ariaLabel: `Log of ${row.name}`, 'aria-live': 'off' })
  const note = h('span.sub', { role: 'status' }, 'Reading …')
  const more = h('button.follow', { type: 'button', hidden: true, onclick: () => down() }, 'Go to the end')
  const times = h('input', { type: 'checkbox', id: 'times', onchange: () => list.classList.toggle('timed', times.checked) })
  const wrap = h('input', { type: 'checkbox', id: 'wrap', checked: true, onchange: () => list.classList.toggle('wrapped', wrap.checked) })
  list.classList.add('wrapped')
  const box = search('Search the log', (found) => {
    words = found
    shown = 0
    for (const line of list.querySelectorAll('.said')) choose(line)
    tell()
    down()
  })
  put(panel, h('div.bar', null, box, h('label', { htmlFor: 'times' }, times, ' Times'), h('label', { htmlFor: 'wrap' }, wrap, ' Wrap'), note), h('div.logbox', null, list, more))

  let words = ''
  let opened = null
  let left = false
  let last = '' // nanoseconds of the last line
  let partial = null // a line whose end is to come
  let pending = []
  let timer = 0
  let following = true
  let touched = false // by a person: what scrolls by itself changes nothing
  let count = 0
  let shown = 0
  let ended = false
  let dropped = 0
  let pause = 16 // milliseconds between two drawings: more where they take long

  function open() {
    ended = false
    const since = last ? `since=${last.slice(0, -9)}.${String(Number(last.slice(-9)) + 1).padStart(9, '0')}` : `tail=${FIRST}`
    opened = socket(`containers/${row.id}/logs?${since}`)
    opened.onopen = tell
    opened.onmessage = ({ data }) => {
      const message = JSON.parse(data)
      if (message.error) {
        ended = true
        text(note, message.error)
        return
      }
      if (message.ended) ended = true
      pending.push(...(message.lines ?? []))
      if (pending.length > 2 * MOST) dropped += pending.splice(0, pending.length - MOST).length
      timer ||= setTimeout(draw, pause)
    }
    opened.onclose = () => {
      // An end of the container is told; anything else is a connection that was lost.
      if (!left && !ended) setTimeout(() => left || open(), 2000)
    }
  }

  function draw() {
    timer = 0
    const began = performance.now()
    const lines = pending
    pending = []
    if (lines.length > MOST) dropped += lines.splice(0, lines.length - MOST).length
    for (const [stream, time, said] of lines) {
      last = time
      const whole = said.endsWith('\n')
      const part = plain(whole ? said.slice(0, -1) : said)
      if (partial && partial.dataset.stream === stream) {
        partial.lastChild.append(part)
        if (!partial.hidden) shown -= 1
        choose(partial)
        if (whole) partial = null
        continue
      }
      const line = h('div.said', null, h('time', null, clock(Number(time.slice(0, -6)))), h('span', null, part))
      line.dataset.stream = stream
      choose(line)
      if (!list.lastChild || list.lastChild.children.length >= CHUNK) list.append(h('div.chunk', null))
      list.lastChild.append(line)
      count += 1
      partial = whole ? null : line
    }
    while (count - list.firstChild?.children.length >= MOST) {
      for (const line of list.firstChild.children) {
        count -= 1
        dropped += 1
        if (!line.hidden) shown -= 1
      }
      list.firstChild.remove()
    }
    tell()
    if (following) down()
    pause = Math.min(Math.max(16, 2 * (performance.now() - began)), 500)
  }

  function choose(line) {
    const content = line.lastChild
    const said = content.textContent
    const at = words ? said.toLowerCase().indexOf(words) : 0
    line.hidden = at < 0
    if (at >= 0) shown += 1
    // Only what is found again is marked; a text node is a text node all the same.
    if (words && at >= 0) mark(content, said)
    else if (content.children.length) content.textContent = said
  }

  function mark(content, said) {
    const parts = []
    const low = said.toLowerCase()
    let from = 0
    for (let at = low.indexOf(words); at >= 0; at = low.indexOf(words, from)) {
      parts.push(said.slice(from, at), h('mark', null, said.slice(at, at + words.length)))
      from = at + words.length
    }
    content.replaceChildren(...parts, said.slice(from))
  }

  function tell() {
    const parts = [words ? `${shown.toLocaleString('en')} of ${plural(count, 'line')}` : count ? plural(count, 'line') : 'Nothing has been written']
    if (dropped) parts.push(`${dropped.toLocaleString('en')} older ones are not shown`)
    parts.push(ended ? 'the container has ended' : 'following')
    text(note, parts.join(' · '))
  }

  function down() {
    following = true
    touched = false
    more.hidden = true
    list.scrollTop = list.scrollHeight
  }

  for (const kind of ['wheel', 'touchmove', 'pointerdown', 'keydown']) {
    list.addEventListener(kind, () => { touched = true }, { passive: true })
  }
  list.addEventListener('scroll', () => {
    if (!touched) return
    const end = list.scrollHeight - list.scrollTop - list.clientHeight < 8
    following = end
    more.hidden = end
  })
  list.addEventListener('keydown', (event) => {
    if (event.key === 'End') down()
  })
  // It has been started again: what it writes now follows what is there.
  const onRows = ({ detail }) => {
    if (ended && detail.changed.includes(row.id) && rows.get(row.id)?.running) open()
  }
  engine.addEventListener('rows', onRows)
  open()
  return () => {
    left = true
    clearTimeout(timer)
    leave(opened)
    engine.removeEventListener('rows', onRows)
  }
}

// Colours and movements of the cursor are for terminals: what is left is what was said.
// eslint-disable-next-line no-control-regex
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])/g
const plain = (said) => said.replace(ESCAPES, '').replace(/\r$/, '')
