// What several views have: headers, search boxes, actions on containers, dialogs, notices.
import { change } from './engine.js'
import { h, icon } from './dom.js'

/** The head of a view: its title, a line about it, and what stands at its right. */
export function head(title, about, ...right) {
  return h('header.head', null, h('div', null, h('h1', null, title), about && h('p.about', null, about)), h('div.tools', null, right))
}

/** A search box. `/` puts the cursor there. */
export function search(label, change) {
  const box = h('input.search', { type: 'search', placeholder: label, ariaLabel: label, autocomplete: 'off', spellcheck: false })
  box.addEventListener('input', () => change(box.value.trim().toLowerCase()))
  box.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') {
      box.value = ''
      change('')
      box.blur()
    }
  })
  return box
}

/** What is shown where there is nothing. */
export function empty(title, ...more) {
  return h('div.empty', null, h('p.title', null, title), more.map((one) => (typeof one === 'string' ? h('p', null, one) : one)))
}

export const code = (text) => h('code', null, text)

/** What is shown where the engine refuses, with its reason. */
export function failed(what, error, again) {
  return h('div.empty.failed', { role: 'alert' }, h('p.title', null, what), h('p', null, `The engine says: ${error.message}`),
    again && h('button', { type: 'button', onclick: again }, 'Try again'))
}

export const waiting = (what) => h('p.waiting', { role: 'status' }, what)

/** A line at the window's foot: what was done, or why it was not. */
export function notice(words, bad = false) {
  const place = document.getElementById('notices')
  const one = h(bad ? 'div.notice.bad' : 'div.notice', null, h('span', null, words),
    h('button.quiet', { type: 'button', ariaLabel: 'Dismiss', onclick: () => one.remove() }, '×'))
  place.append(one)
  while (place.children.length > 4) place.firstChild.remove()
  setTimeout(() => one.remove(), bad ? 12000 : 4000)
}

const DONE = { start: 'started', stop: 'stopped', restart: 'restarted', remove: 'removed', pause: 'paused', unpause: 'running again' }
const DOING = { start: 'Starting …', stop: 'Stopping …', restart: 'Restarting …', remove: 'Removing …', pause: 'Pausing …', unpause: 'Resuming …' }
const busy = new Map() // id → what is being done to it, and its promise

/** Do something to a container, and say what came of it. */
export async function act(row, verb) {
  let query = ''
  if (verb === 'remove') {
    const choice = await confirmRemoval(row)
    if (!choice) return
    query = `?${new URLSearchParams(choice)}`
  }
  const before = busy.get(row.id)?.promise
  const mine = (async () => {
    await before
    try {
      await change(`containers/${row.id}/${verb}${query}`)
      notice(`${row.name} ${verb === 'unpause' ? 'is ' : ''}${DONE[verb]}`)
    } catch (error) {
      notice(`${verb} ${row.name}: ${error.message}`, true)
    }
  })()
  busy.set(row.id, { verb, promise: mine })
  document.dispatchEvent(new CustomEvent('busy', { detail: row.id }))
  await mine
  if (busy.get(row.id)?.promise === mine) busy.delete(row.id)
  document.dispatchEvent(new CustomEvent('busy', { detail: row.id }))
}

/** What is being done to a container, in words; nothing when nothing is. */
export const doing = (id) => DOING[busy.get(id)?.verb]

/** What can be done to a container now. Rows have no room for `pause`. */
export function verbs(row, all = true) {
  if (row.state === 'paused') return ['unpause', 'stop', 'remove']
  if (!row.running) return ['start', 'remove']
  return all && row.state === 'running' ? ['stop', 'restart', 'pause', 'remove'] : ['stop', 'restart', 'remove']
}

export const WORDS = { start: 'Start', stop: 'Stop', restart: 'Restart', remove: 'Remove', pause: 'Pause', unpause: 'Resume' }

/** The buttons for a container; `put` them again when its row changes. */
export function buttons(row, withWords = false) {
  return verbs(row, withWords).map((verb) => h(`button.act.${verb}`, {
    type: 'button',
    ariaLabel: `${WORDS[verb]} ${row.name}`,
    title: WORDS[verb],
    disabled: busy.has(row.id),
    onclick: (event) => {
      event.stopPropagation()
      act(row, verb)
    },
  }, icon(verb === 'unpause' ? 'start' : verb), withWords && h('span', null, WORDS[verb])))
}

function confirmRemoval(row) {
  const volumes = h('input', { type: 'checkbox', id: 'volumes' })
  return ask(`Remove ${row.name}?`, [
    h('p', null, row.running ? 'It is running: it will be killed first. ' : '', 'What it has written to its own files goes with it.'),
    h('p', null, h('label', { htmlFor: 'volumes' }, volumes, ' Remove its anonymous volumes, too')),
  ], row.running ? 'Kill and remove' : 'Remove').then((yes) => yes && { force: row.running ? '1' : '0', volumes: volumes.checked ? '1' : '0' })
}

/** Ask yes or no in a dialog. */
export function ask(title, content, yes) {
  return new Promise((resolve) => {
    const box = dialog(title, content, [
      h('button', { type: 'button', autofocus: true, onclick: () => box.close() }, 'Cancel'),
      h('button.danger', { type: 'button', onclick: () => { answer = true; box.close() } }, yes),
    ])
    let answer = false
    box.addEventListener('close', () => resolve(answer))
  })
}

/** Show a dialog; Escape closes it, and the focus goes back to where it was. */
export function dialog(title, content, actions) {
  const box = h('dialog', { ariaLabel: title }, h('h2', null, title), content, h('div.actions', null, actions))
  box.addEventListener('close', () => box.remove())
  document.body.append(box)
  box.showModal()
  return box
}

/** A state as a word with its colour. */
export function badge(row) {
  const health = /\((healthy|unhealthy|health: starting)\)/.exec(row.status)?.[1]
  const kind = health === 'unhealthy' ? 'bad' : row.state === 'running' ? 'good' : row.running || health ? 'wait' : row.state === 'dead' ? 'bad' : 'off'
  return h(`span.badge.${kind}`, null, row.state)
}
