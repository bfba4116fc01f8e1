// The frame: sections, addresses, keys, and the state of the connection.
import { h, icon, put, text } from './dom.js'
import { ask, connect, engine, retry, rows, state } from './engine.js'
import { act, dialog, verbs } from './parts.js'
import * as container from './views/container.js'
import * as containers from './views/containers.js'
import * as doctor from './views/doctor.js'
import * as events from './views/events.js'
import * as images from './views/images.js'
import * as networks from './views/networks.js'
import * as volumes from './views/volumes.js'

const SECTIONS = { containers: 'Containers', images: 'Images', networks: 'Networks', volumes: 'Volumes', events: 'Events', doctor: 'Doctor' }
const VIEWS = { containers, images, networks, volumes, events, doctor }

const main = document.getElementById('main')
const nav = document.getElementById('sections')
const link = document.getElementById('link')
const count = h('span.count', null)

for (const [name, words] of Object.entries(SECTIONS)) {
  nav.append(h('a', { href: `#/${name}` }, icon(name), h('span', null, words), name === 'containers' && count))
}

// --- addresses: #/section, #/containers/ID/tab, #/images/ID ---

let leave = () => {}

function go() {
  const [section = 'containers', id, tab] = location.hash.replace(/^#\/?/, '').split('/').map(decode)
  const name = Object.hasOwn(SECTIONS, section) ? section : 'containers'
  leave()
  document.title = `${SECTIONS[name]} – minidock`
  for (const one of nav.children) {
    if (one.getAttribute('href') !== `#/${name}`) one.removeAttribute('aria-current')
    else {
      one.setAttribute('aria-current', 'page')
      one.scrollIntoView({ block: 'nearest', inline: 'nearest' })
    }
  }
  main.className = `view-${id && tab ? tab : name}`
  const found = name === 'containers' && id ? container.show(main, id, Object.hasOwn({ logs: 1, terminal: 1 }, tab ?? '') ? tab : 'overview')
    : name === 'images' && id ? images.showOne(main, id)
      : VIEWS[name].show(main)
  leave = found ?? (() => {})
  scrollTo(0, 0)
}

function decode(part) {
  try {
    return decodeURIComponent(part) || undefined
  } catch {
    return undefined
  }
}

addEventListener('hashchange', () => {
  const inTabs = document.activeElement?.role === 'tab' ? document.activeElement.id : null
  go()
  if (inTabs) document.getElementById(inTabs)?.focus()
  else main.focus({ preventScroll: true })
})

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault()
  main.focus()
})

// --- the connection ---

function showLink() {
  const lost = state.link !== 'open'
  link.className = lost ? 'link bad' : state.trouble ? 'link bad' : 'link'
  if (state.link === 'over') put(link, 'This session is over: run ', h('code', null, 'minidock ui'), ' again and open its link.')
  else if (state.trouble) text(link, `The engine says: ${state.trouble}`)
  else if (state.link === 'lost') put(link, h('span', null, 'The connection to minidock ui is lost. If it has ended, start it again and open its new link.'), h('button', { type: 'button', onclick: retry }, 'Try now'))
  else text(link, state.link === 'open' ? 'Live' : 'Connecting …')
  document.body.classList.toggle('lost', lost && state.link !== 'connecting')
}

engine.addEventListener('link', showLink)
engine.addEventListener('rows', () => {
  text(count, String(rows.size))
  showLink()
})

// --- keys ---

const KEYS = [
  ['g then c, i, n, v, e, d', 'Go to containers, images, networks, volumes, events, doctor'],
  ['j, k', 'Next and previous row'],
  ['Enter', 'Open'],
  ['s', 'Start or stop the container'],
  ['r', 'Restart it'],
  ['p', 'Pause it, or let it go on'],
  ['x', 'Remove it, after a question'],
  ['l, t, o', 'Its log, a terminal in it, its overview'],
  ['/', 'Search'],
  ['Esc', 'Leave the search, close a dialog, go back'],
  ['Ctrl-Shift-Esc', 'Leave the terminal'],
  ['?', 'This list'],
]

function showKeys() {
  const box = dialog('Keyboard', h('dl.keys', null, KEYS.map(([keys, words]) => h('div', null, h('dt', null, keys.split(/(, | then )/).map((part, at) => (at % 2 ? part : h('kbd', null, part)))), h('dd', null, words)))),
    [h('button', { type: 'button', onclick: () => box.close() }, 'Close')])
}
document.getElementById('keys').addEventListener('click', showKeys)

let first = '' // of a command of two keys
let timer = 0

/** The container that the focus is on, or whose page this is. */
function current() {
  const id = document.activeElement?.closest?.('[data-id]')?.dataset.id ?? location.hash.match(/^#\/containers\/([^/]+)/)?.[1]
  return rows.get(id)
}

function move(step) {
  const links = [...main.querySelectorAll('tbody tr a.name, .graph a, tbody tr:not(:has(a.name)) a')]
  if (!links.length) return
  const here = links.findIndex((one) => one === document.activeElement || one.closest('tr')?.contains(document.activeElement))
  const next = links[Math.min(Math.max(here + step, 0), links.length - 1)]
  next.focus()
  next.scrollIntoView({ block: 'nearest' })
}

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
  const where = event.target
  if (where.closest('input[type=text], input[type=search], textarea, select, dialog')) return
  const key = event.key
  if (first === 'g') {
    first = ''
    const section = Object.keys(SECTIONS).find((name) => name[0] === key)
    if (section) {
      event.preventDefault()
      location.hash = `#/${section}`
      return
    }
  }
  const row = current()
  const verb = { s: row?.running ? 'stop' : 'start', r: 'restart', p: row?.state === 'paused' ? 'unpause' : 'pause', x: 'remove', Delete: 'remove' }[key]
  const tab = { l: '/logs', t: '/terminal', o: '' }[key]
  if (key === 'g') {
    first = 'g'
    clearTimeout(timer)
    timer = setTimeout(() => { first = '' }, 1200)
  } else if (key === 'j' || (key === 'ArrowDown' && where.closest('tbody'))) move(1)
  else if (key === 'k' || (key === 'ArrowUp' && where.closest('tbody'))) move(-1)
  else if (key === '/') main.querySelector('.search')?.focus()
  else if (key === '?') showKeys()
  else if (key === 'Escape' && location.hash.split('/').length > 2) location.hash = location.hash.split('/').slice(0, 2).join('/')
  else if (verb && row && verbs(row).includes(verb)) act(row, verb)
  else if (tab !== undefined && row) location.hash = `#/containers/${row.id}${tab}`
  else return
  event.preventDefault()
})

// --- begin ---

ask('about').then((about) => text(document.getElementById('about'), `${about.host} · minidock ${about.version}`), () => {})
showLink()
connect()
go()
