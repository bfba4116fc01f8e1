// What happens, as it happens.
import { h, put } from '../dom.js'
import { engine, events, history } from '../engine.js'
import { clock, moment, short } from '../format.js'
import { empty, failed, head, search } from '../parts.js'

export function show(main) {
  let words = ''
  let error = null
  const box = search('Search events', (found) => {
    words = found
    draw()
  })
  const body = h('tbody', null)
  const table = h('table.list.events', null, h('caption.unseen', null, 'Events, the newest first'),
    h('thead', null, h('tr', null, ['Time', 'What', 'Happened', 'Details'].map((one) => h('th', { scope: 'col' }, one)))), body)
  const nothing = h('div', null)
  put(main, head('Events', 'From every process on this data root, the newest first', box), h('div.scroll', null, table), nothing)

  const passes = (event) => words === '' || [event.type, event.action, event.id, ...Object.values(event.attributes)].join('\n').toLowerCase().includes(words)

  function draw() {
    put(body, events.filter(passes).map(line))
    finish()
  }

  function finish() {
    while (body.children.length > 1000) body.lastChild.remove()
    table.hidden = body.children.length === 0
    put(nothing, body.children.length ? null : error ? failed('Earlier events cannot be read', error) : empty(events.length ? 'No event matches' : 'Nothing has happened yet'))
  }

  const onEvents = ({ detail }) => {
    body.prepend(...detail.filter(passes).map(line))
    finish()
  }
  engine.addEventListener('events', onEvents)
  draw()
  history().then(draw, (found) => {
    error = found
    draw()
  })
  return () => engine.removeEventListener('events', onEvents)
}

const HIDDEN = new Set(['name', 'image', 'execID'])

function line(event) {
  const { name, exitCode } = event.attributes
  const label = name ?? short(event.id)
  const who = event.type === 'container' ? h('a', { href: `#/containers/${event.id}` }, label) : h('span', null, label)
  const rest = Object.entries(event.attributes).filter(([key]) => !HIDDEN.has(key)).map(([key, value]) => `${key}=${/^(sha256:)?[0-9a-f]{64}$/.test(value) ? short(value) : value}`)
  const [doing, command] = event.action.startsWith('exec_') ? event.action.split(/:(.*)/s) : [event.action]
  const bad = exitCode !== undefined && exitCode !== '0' && event.action === 'die'
  return h('tr', null,
    h('td', { title: moment(event.time) }, h('time', null, clock(event.time))),
    h('td.who', null, who, h('span.sub', null, event.type)),
    h('td', null, h(bad ? 'span.action.bad' : 'span.action', null, doing), command && h('code.command', null, command.trim())),
    h('td', null, h('span.sub.details', null, rest.join('  '))))
}
