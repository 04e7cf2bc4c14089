#!/usr/bin/env node
// Writes price/table.json from the npm package @pydantic/genai-prices.
//
//   node scripts/prices/prices.mjs [version]
//
// Without a version it takes the one that the table has now, so that the output is
// the same every time. Our own corrections are in price/overrides.json.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const PACKAGE = '@pydantic/genai-prices'
const TABLE = new URL('../../price/table.json', import.meta.url)

// The package's providers and their names here. Presets come first.
const PROVIDERS = {
  anthropic: 'anthropic',
  azure: 'azure-openai',
  aws: 'bedrock',
  deepseek: 'deepseek',
  google: 'gemini',
  groq: 'groq',
  mistral: 'mistral',
  moonshotai: 'moonshot',
  openai: 'openai',
  openrouter: 'openrouter',
  together: 'together',
  'x-ai': 'xai',
  cerebras: 'cerebras',
  cohere: 'cohere',
  fireworks: 'fireworks',
  perplexity: 'perplexity',
}

// The package's prices and their names here, with the factor between the units.
const KINDS = {
  requests_kcount: ['request', 1],
  input_mtok: ['input', 1],
  cache_read_mtok: ['cache_read', 1],
  cache_write_mtok: ['cache_write', 1],
  cache_write_1h_mtok: ['cache_write_1h', 1],
  output_mtok: ['output', 1],
  output_reasoning_mtok: ['reasoning', 1],
  input_audio_mtok: ['audio_input', 1],
  cache_audio_read_mtok: ['audio_cache_read', 1],
  output_audio_mtok: ['audio_output', 1],
  input_image_mtok: ['image_input', 1],
  cache_image_read_mtok: ['image_cache_read', 1],
  output_image_mtok: ['image_output', 1],
  input_audio_hours: ['hour', 1],
  web_searches_kcount: ['search', 1],
}

// Prices that need no name: another one has the same value, or calls that cost
// them are refused under a budget.
const IGNORED = new Set(['audio_hours', 'storage_searches_kcount', 'input_video_mtok'])

function main(version) {
  version ||= JSON.parse(readFileSync(TABLE)).version
  const dir = mkdtempSync(join(tmpdir(), 'prices-'))
  return load(dir, version)
    .then((find) => {
      const table = {
        source: PACKAGE,
        version,
        date: publishedAt(version),
        providers: {},
      }
      for (const id of Object.keys(PROVIDERS).sort()) {
        table.providers[PROVIDERS[id]] = convertProvider(find({ providerId: id }))
      }
      writeFileSync(TABLE, format(table))
    })
    .finally(() => rmSync(dir, { recursive: true }))
}

async function load(dir, version) {
  const file = execFileSync('npm', ['pack', '--silent', `${PACKAGE}@${version}`], { cwd: dir, encoding: 'utf8' }).trim()
  execFileSync('tar', ['xzf', file], { cwd: dir })
  return (await import(pathToFileURL(join(dir, 'package/dist/index.js')))).findProvider
}

function publishedAt(version) {
  const times = JSON.parse(execFileSync('npm', ['view', PACKAGE, 'time', '--json'], { encoding: 'utf8' }))
  return times[version].slice(0, 10)
}

function convertProvider(p) {
  const fallback = (p.fallback_model_providers ?? []).map((id) => PROVIDERS[id])
  return {
    page: p.pricing_urls?.[0],
    ...(fallback.length > 0 && { fallback }),
    models: p.models.map((m) => convertModel(p.id, m)).filter(Boolean),
  }
}

function convertModel(provider, m) {
  const variants = Array.isArray(m.prices) ? m.prices : [{ prices: m.prices }]
  const prices = variants.map(convertVariant)
  if (prices.includes(undefined)) {
    console.error(`${provider} ${m.id}: left out, it has prices of other kinds`)
    return undefined
  }
  return { id: m.id, names: patterns(m.match), prices }
}

function convertVariant({ constraint, prices }) {
  const out = { ...when(constraint) }
  const over = {}
  if (Object.keys(prices).length === 0) return { ...out, input: '0', output: '0' } // said to be free
  for (const [key, value] of Object.entries(imagesAsVideo(prices))) {
    if (IGNORED.has(key)) continue
    const kind = KINDS[key]
    if (!kind) return undefined
    out[kind[0]] = decimal(value.base ?? value)
    for (const { start, price } of value.tiers ?? []) {
      over[start] ??= { above: start }
      over[start][kind[0]] = decimal(price)
    }
  }
  const steps = Object.values(over).sort((a, b) => a.above - b.above)
  return { ...out, ...(steps.length > 0 && { over: steps }) }
}

// Frames of a video are counted as images.
function imagesAsVideo(prices) {
  const video = prices.input_video_mtok
  if (video === undefined) return prices
  return { ...prices, input_image_mtok: Math.max(video, prices.input_image_mtok ?? 0) }
}

function when(constraint) {
  switch (constraint?.type) {
    case undefined:
      return {}
    case 'start_date':
      return { from: constraint.start_date }
    case 'time_of_date':
      return { hours: `${clock(constraint.start_time)}-${clock(constraint.end_time)}` }
  }
  throw new Error(`unknown constraint ${constraint.type}`)
}

function clock(time) {
  const m = /^(\d{2}:\d{2}):00Z$/.exec(time)
  if (!m) throw new Error(`unknown time ${time}`)
  return m[1]
}

// A price as a decimal string of at most 9 decimals, rounded up.
function decimal(n) {
  const s = String(n)
  if (/^\d+(\.\d{1,9})?$/.test(s)) return s
  return String(Math.ceil(n * 1e9 - 1e-6) / 1e9)
}

// Patterns: * stands for any text, # for a digit, and "!text" at the end excludes
// names that contain the text.
function patterns(match) {
  if (match.or) return match.or.flatMap(patterns)
  if (match.equals !== undefined) return [match.equals]
  if (match.starts_with !== undefined) return [`${match.starts_with}*`]
  if (match.ends_with !== undefined) return [`*${match.ends_with}`]
  if (match.contains !== undefined) return [`*${match.contains}*`]
  if (match.regex !== undefined) return [fromRegex(match.regex)]
  if (match.and?.length === 2 && match.and[1].regex === '^(?!.*-[tT][tT][sS](?:$|-))') {
    return patterns(match.and[0]).map((p) => `${p}!-tts`)
  }
  throw new Error(`unknown match ${JSON.stringify(match)}`)
}

function fromRegex(regex) {
  const pattern = regex
    .replace(/^\^/, '')
    .replace(/\\d\{(\d+)\}/g, (_, n) => '#'.repeat(n))
    .replace(/\\d/g, '#')
    .replace(/\\\./g, '.')
  const anchored = pattern.endsWith('$') ? pattern.slice(0, -1) : `${pattern}*`
  if (!/^[\w.:/@#-]+\*?$/.test(anchored)) throw new Error(`unknown regex ${regex}`)
  return anchored
}

// One model a line: the table is read in diffs.
function format(table) {
  const providers = Object.entries(table.providers).map(([name, { models, ...p }]) => {
    const head = JSON.stringify(p).slice(1, -1)
    const lines = models.map((m) => `    ${JSON.stringify(m)}`).join(',\n')
    return `  ${JSON.stringify(name)}: {${head}, "models": [\n${lines}\n  ]}`
  })
  const { source, version, date } = table
  return `{\n"source": ${JSON.stringify(source)}, "version": ${JSON.stringify(version)}, "date": ${JSON.stringify(date)},\n"providers": {\n${providers.join(',\n')}\n}\n}\n`
}

await main(process.argv[2])
