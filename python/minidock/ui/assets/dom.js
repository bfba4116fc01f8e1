// Elements are made here, and only here. Text is always a text node: no name, label or log line is ever read as HTML.

const SVG = 'http://www.w3.org/2000/svg'

/** Make an element: h('a.name', {href, onclick, ariaLabel}, 'text', child, …). Null and false children are left out. */
export function h(what, properties, ...children) {
  const [tag, ...classes] = what.split('.')
  const element = document.createElement(tag)
  if (classes.length) element.className = classes.join(' ')
  return fill(element, properties, children)
}

/** The same for SVG; properties are attributes. */
export function s(what, properties, ...children) {
  const [tag, ...classes] = what.split('.')
  const element = document.createElementNS(SVG, tag)
  if (classes.length) element.setAttribute('class', classes.join(' '))
  return fill(element, properties, children)
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name in element && element.namespaceURI !== SVG) element[name] = value
    else if (value !== false) element.setAttribute(name, value === true ? '' : value)
  }
  add(element, children)
  return element
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child)
  }
}

/** Put these in place of what an element has. */
export function put(element, ...children) {
  element.replaceChildren()
  add(element, children)
  return element
}

/** Set an element's text if it is another one. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value
}

const ICONS = {
  start: 'M8 5.500v13l10.500-6.500z',
  stop: 'M7 7h10v10H7z',
  restart: 'M18.500 12a6.500 6.500 0 1 1-2-4.700M18.500 4.500v4h-4',
  remove: 'M5.500 7.500h13M10 7V5h4v2M7.500 7.500l.8 11.500h7.400l.8-11.500M10.500 11v5M13.500 11v5',
  pause: 'M9 6.500v11M15 6.500v11',
  containers: 'M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8',
  images: 'M4 9l8-4.500L20 9l-8 4.500zM4 13l8 4.500L20 13M4 17l8 4.500L20 17',
  networks: 'M12 5.500v5M12 10.500L6 16M12 10.500L18 16M12 5.500a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3zM5.500 19a1.700 1.700 0 1 0 0-3.400 1.700 1.700 0 0 0 0 3.400zM18.500 19a1.700 1.700 0 1 0 0-3.400 1.700 1.700 0 0 0 0 3.400z',
  volumes: 'M5 6.500c0-1.700 3.100-3 7-3s7 1.300 7 3-3.100 3-7 3-7-1.300-7-3zM5 6.500v11c0 1.700 3.100 3 7 3s7-1.300 7-3v-11M5 12c0 1.700 3.100 3 7 3s7-1.300 7-3',
  events: 'M4 12h4l2.500-6.500 3.500 13 2.500-6.500H20',
  doctor: 'M12 4v16M4 12h16',
  back: 'M14 6l-6 6 6 6',
}

/** An icon, which says nothing to a screen reader. */
export function icon(name) {
  return s('svg.icon', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d: ICONS[name] }))
}
