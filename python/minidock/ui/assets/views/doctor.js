// What works on this host, what does not, and what to do about it.
import { h, put } from '../dom.js'
import { ask } from '../engine.js'
import { plural } from '../format.js'
import { failed, head, waiting } from '../parts.js'

const WORDS = { ok: 'works', warn: 'warning', fail: 'fails' }

export function show(main) {
  let left = false
  const button = h('button', { type: 'button', onclick: () => look() }, 'Look again')
  const place = h('div', null)
  const about = h('p.about', { role: 'status' })
  const top = head('Doctor', '', button)
  top.firstChild.append(about)
  put(main, top, place)

  function look() {
    button.disabled = true
    put(place, waiting('Trying the system calls that containers need …'))
    ask('doctor').then((checks) => left || draw(checks), (error) => left || put(place, failed('The doctor does not answer', error, look)))
      .finally(() => { button.disabled = false })
  }

  function draw(checks) {
    const count = (status) => checks.filter((one) => one.status === status).length
    about.textContent = `${count('ok')} of ${plural(checks.length, 'finding')} are well · ${plural(count('warn'), 'warning')} · ${plural(count('fail'), 'failure')}`
    const groups = [...new Set(checks.map((one) => one.group))]
    const wrong = checks.filter((one) => one.status !== 'ok')
    wrong.sort((one, other) => (one.status === other.status ? 0 : one.status === 'fail' ? -1 : 1))
    put(place, wrong.length > 0 && h('section.findings.wrong', null, h('h2', null, 'Worth a look'), h('ul', null, wrong.map((one) => finding(one, true)))),
      groups.map((group) => h('section.findings', null, h('h2', null, group), h('ul', null, checks.filter((one) => one.group === group).map((one) => finding(one, false))))))
  }

  look()
  return () => { left = true }
}

function finding(one, whole) {
  return h(`li.${one.status}`, null, h('span.verdict', null, WORDS[one.status]),
    h('div', null, h('strong', null, one.name), ' ', h('span.found', null, one.found),
      whole && one.meaning && h('p', null, one.meaning), whole && one.advice && h('p.advice', null, one.advice)))
}
