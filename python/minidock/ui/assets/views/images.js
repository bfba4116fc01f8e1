// Images, what each takes up and shares, and the layers of one.
import { h, icon, put } from '../dom.js'
import { ask, engine, rows } from '../engine.js'
import { ago, moment, plural, short, size } from '../format.js'
import { code, empty, failed, head, search, waiting } from '../parts.js'

const nameOf = (image) => image.tags[0] ?? image.digests?.[0] ?? '<none>'

export function show(main) {
  let all = []
  let total = 0
  let words = ''
  const box = search('Search images', (found) => {
    words = found
    draw()
  })
  const place = h('div', null, waiting('Looking …'))
  const about = h('p.about', null)
  const top = head('Images', '', box)
  top.firstChild.append(about)
  put(main, top, place)

  function draw() {
    about.textContent = all.length ? `${plural(all.length, 'image')}, ${size(total)} on disk with everything shared counted once` : ''
    const found = all.filter((image) => `${image.tags.join('\n')}\n${image.id}`.toLowerCase().includes(words))
    if (!found.length) {
      put(place, all.length ? empty('No image matches') : empty('No images yet', h('p', null, 'Pull one in a terminal: ', code('minidock pull busybox'))))
      return
    }
    const most = Math.max(...all.map((image) => image.size), 1)
    put(place, h('div.scroll', null, h('table.list', null, h('caption.unseen', null, 'Images'),
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Name'), h('th.more', { scope: 'col' }, 'Id'), h('th', { scope: 'col' }, 'Size'),
        h('th.num', { scope: 'col' }, 'Layers'), h('th', { scope: 'col' }, 'Containers'), h('th', { scope: 'col' }, 'Made'))),
      h('tbody', null, found.map((image) => line(image, most))))))
  }

  function line(image, most) {
    const users = [...rows.values()].filter((row) => row.image_id === image.id)
    return h('tr', null,
      h('td.who', null, h('a.name', { href: `#/images/${image.id}` }, nameOf(image)), image.tags.slice(1).map((tag) => h('span.sub', null, tag))),
      h('td.more', null, h('code', null, short(image.id))),
      h('td.sizes', null, bar(image.size - image.shared, image.shared, most), h('span', null, size(image.size)),
        h('span.sub', null, image.shared ? `${size(image.shared)} shared` : 'nothing shared')),
      h('td.num', null, String(image.layers)),
      h('td', null, users.length ? users.slice(0, 3).map((row) => h('a.line', { href: `#/containers/${row.id}` }, row.name)) : h('span.sub', null, 'none'),
        users.length > 3 && h('span.sub', null, `and ${users.length - 3} more`)),
      h('td', { title: moment(image.created * 1000) }, image.created > 0 ? ago(image.created * 1000) : '–'))
  }

  return refetching('image', 'images', (found) => {
    all = found.images
    total = found.total
    draw()
  }, (error, again) => put(place, failed('Images cannot be listed', error, again)), draw)
}

/** Its own part and the shared one, of the largest there is. */
function bar(own, shared, most) {
  const part = (name, bytes) => {
    const one = h(`span.${name}`, null)
    one.style.width = `${Math.max((bytes / most) * 100, bytes ? 1 : 0)}%`
    return one
  }
  return h('div.sizebar', { role: 'img', ariaLabel: `${size(own)} of its own, ${size(shared)} shared` }, part('own', own), part('shared', shared))
}

export function showOne(main, id) {
  const place = h('div', null, waiting('Looking …'))
  const title = h('h1', null, short(id))
  const about = h('p.about', null)
  put(main, h('header.head.one', null, h('div', null, h('a.back', { href: '#/images' }, icon('back'), 'Images'), title, about)), place)
  Promise.all([ask(`images/${id}`), ask('images')]).then(([image, { images }]) => {
    const names = new Map(images.map((one) => [one.id, nameOf(one)]))
    title.textContent = nameOf(image)
    document.title = `${nameOf(image)} – minidock`
    about.textContent = [image.platform, short(image.id), ...image.tags.slice(1)].join(' · ')
    const most = Math.max(...image.steps.map((step) => step.size), 1)
    const layers = image.steps.filter((step) => step.layer)
    put(place, h('h2', null, plural(layers.length, 'layer'), h('span.sub', null, ` ${size(layers.reduce((sum, step) => sum + step.size, 0))} of files, the newest first`)),
      image.steps.length ? h('ol.steps', null, image.steps.map((step) => stepOf(step, most, names))) : empty('This image has no layers'))
  }, (error) => put(place, failed('This image cannot be looked at', error)))
}

function stepOf(step, most, names) {
  const shared = step.shared.map((other) => names.get(other) ?? short(other))
  const by = step.by.replace(/^\/bin\/sh -c #\(nop\)\s+/, '').replace(/^\/bin\/sh -c /, 'RUN ') || step.comment || 'unknown'
  return h(step.layer ? 'li' : 'li.settings', null,
    h('div.sizes', null, step.layer ? [bar(shared.length ? 0 : step.size, shared.length ? step.size : 0, most), h('span', null, size(step.size))] : h('span.sub', null, 'settings only')),
    h('div', null, h('code.by', null, by),
      step.layer && h('p.sub', null, h('code', null, short(step.layer)), shared.length ? ` shared with ${shared.join(', ')}` : ' in this image only')))
}

/** Ask now, and again when something of a kind happens; `also` is called when containers change. */
export function refetching(kind, path, done, refused, also) {
  let left = false
  let timer = 0
  const fetchIt = () => ask(path).then((found) => left || done(found), (error) => left || refused(error, fetchIt))
  const onEvents = ({ detail }) => {
    if (!detail.some((event) => event.type === kind)) return
    clearTimeout(timer)
    timer = setTimeout(fetchIt, 200)
  }
  const onRows = () => also?.()
  engine.addEventListener('events', onEvents)
  engine.addEventListener('rows', onRows)
  fetchIt()
  return () => {
    left = true
    clearTimeout(timer)
    engine.removeEventListener('events', onEvents)
    engine.removeEventListener('rows', onRows)
  }
}
