// Numbers and times as people read them.

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB']

/** Bytes in decimal units, as docker prints sizes. */
export function size(bytes, base = 1000) {
  let at = 0
  let value = bytes
  while (value >= base && at < UNITS.length - 1) {
    value /= base
    at += 1
  }
  const digits = at === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2
  return `${value.toFixed(digits)} ${base === 1024 && at ? UNITS[at].replace('B', 'iB') : UNITS[at]}`
}

/** Memory, in binary units. */
export const memory = (bytes) => size(bytes, 1024)

export const rate = (bytes) => `${size(Math.max(bytes, 0))}/s`

export const percent = (value) => (value >= 100 ? `${value.toFixed(0)} %` : `${value.toFixed(1)} %`)

export const short = (id) => id.replace(/^sha256:/, '').slice(0, 12)

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`
}

/** How long ago milliseconds since 1970 are. */
export function ago(milliseconds) {
  const seconds = Math.max(0, (Date.now() - milliseconds) / 1000)
  for (const [span, unit] of [[86400 * 365, 'year'], [86400 * 30, 'month'], [86400, 'day'], [3600, 'hour'], [60, 'minute']]) {
    if (seconds >= span) return `${plural(Math.floor(seconds / span), unit)} ago`
  }
  return seconds < 5 ? 'just now' : `${Math.floor(seconds)} seconds ago`
}

const two = (number) => String(number).padStart(2, '0')

export function clock(milliseconds) {
  const at = new Date(milliseconds)
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** A moment in full, in the browser's own time zone. */
export function moment(milliseconds) {
  const at = new Date(milliseconds)
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(milliseconds)}`
}

/** A time of the engine in full; a dash for Docker's zero. */
export function stamp(text) {
  return !text || text.startsWith('0001-') ? '–' : moment(Date.parse(text))
}

/** Published ports as docker prints them, those of IPv6 beside an equal one of IPv4 left out. */
export function ports(list) {
  const found = new Set()
  for (const [address, outer, inner, kind] of list) {
    const what = kind === 'tcp' ? `${inner}` : `${inner}/${kind}`
    const where = address === '0.0.0.0' || address === '::' || address === '' ? '' : `${address}:`
    if (outer) found.add(`${where}${outer} → ${what}`)
  }
  return [...found]
}
