package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"
)

// A plot has a panel for each scenario with latencies. To the right go the
// percentiles, each nine as wide as the one before, and up go the latencies on
// a logarithmic scale.
const (
	panelWidth, panelHeight = 420, 260
	marginLeft, marginTop   = 70, 56
	marginRight, marginFoot = 24, 48
	columns                 = 2
	mostNines               = 3 // to 99.9 %
)

// lines are what is drawn, in this order.
var lines = []string{bareAgain, bare, relay}

const plotStyle = `<style>
	svg { --ink: #1f2328; --faint: #d1d9e0; --paper: #ffffff; --bare: #57606a; --again: #b1bac4; --relay: #0969da; }
	@media (prefers-color-scheme: dark) {
		svg { --ink: #e6edf3; --faint: #30363d; --paper: #0d1117; --bare: #9da7b1; --again: #57606a; --relay: #58a6ff; }
	}
	text { font: 12px system-ui, sans-serif; fill: var(--ink); }
	.title { font-weight: 600; font-size: 14px; }
	.paper { fill: var(--paper); }
	.grid { stroke: var(--faint); }
	.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
	.bare { stroke: var(--bare); }
	.bare-again { stroke: var(--again); stroke-dasharray: 4 3; }
	.relay { stroke: var(--relay); }
</style>
`

// plot draws the latencies of all rounds as an SVG.
func plot(outcomes []*outcome) []byte {
	outcomes = slices.DeleteFunc(slices.Clone(outcomes), func(o *outcome) bool { return len(o.latencies[bare]) == 0 })
	across := max(1, min(columns, len(outcomes)))
	down := (len(outcomes) + across - 1) / across
	width := across * (marginLeft + panelWidth + marginRight)
	height := 30 + down*(marginTop+panelHeight+marginFoot)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>Latency at %d requests a second, of bare Caddy and of the relay</title>\n", gateRate)
	b.WriteString(plotStyle)
	fmt.Fprintf(&b, `<rect class="paper" width="%d" height="%d"/>`+"\n", width, height)
	drawLegend(&b)
	for i, out := range outcomes {
		x := i%across*(marginLeft+panelWidth+marginRight) + marginLeft
		y := 30 + i/across*(marginTop+panelHeight+marginFoot) + marginTop
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", x, y)
		drawPanel(&b, out)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func drawLegend(b *bytes.Buffer) {
	for i, l := range []struct{ class, text string }{{"bare", "bare Caddy"}, {"bare-again", "bare Caddy again"}, {"relay", "relay"}} {
		x := marginLeft + i*180
		fmt.Fprintf(b, `<path class="line %s" d="M%d 24h28"/><text x="%d" y="28">%s</text>`+"\n", l.class, x, x+36, l.text)
	}
}

// drawPanel draws axes and lines of one scenario.
func drawPanel(b *bytes.Buffer, out *outcome) {
	fmt.Fprintf(b, `<text class="title" y="-14">%s, %d a second</text>`+"\n", out.scenario.name, gateRate)
	sorted := make(map[string][]time.Duration)
	least, most := math.Inf(1), math.Inf(-1)
	for _, name := range lines {
		if v := slices.Sorted(slices.Values(out.latencies[name])); len(v) > 0 {
			sorted[name] = v
			least = min(least, micros(v[0]))
		}
	}
	nines := ninesOf(len(sorted[bare]))
	for _, v := range sorted {
		most = max(most, micros(quantile(v, 1-math.Pow(10, -nines))))
	}
	low, high := math.Log10(least), math.Log10(most)
	y := func(µs float64) float64 { return panelHeight * (1 - (math.Log10(µs)-low)/(high-low)) }
	for _, percent := range []float64{50, 90, 99, 99.9} {
		x := panelWidth * -math.Log10(1-percent/100) / nines
		if x > panelWidth+1 {
			break
		}
		fmt.Fprintf(b, `<path class="grid" d="M%.1f 0v%d"/><text x="%.1f" y="%d" text-anchor="middle">%g %%</text>`+"\n", x, panelHeight, x, panelHeight+18, percent)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">of requests take no longer</text>`+"\n", panelWidth/2, panelHeight+36)
	for _, tick := range ticks(least, most) {
		fmt.Fprintf(b, `<path class="grid" d="M0 %.1fh%d"/><text x="-8" y="%.1f" text-anchor="end">%s</text>`+"\n", y(tick), panelWidth, y(tick)+4, latencyText(tick))
	}
	for _, name := range lines {
		if v := sorted[name]; v != nil {
			fmt.Fprintf(b, `<path class="line %s" d="%s"/>`+"\n", map[string]string{bare: "bare", bareAgain: "bare-again", relay: "relay"}[name], path(v, nines, y))
		}
	}
}

// ninesOf is how far to the right so many latencies go: the last percentile has a
// few of them beyond it.
func ninesOf(latencies int) float64 {
	const few = 3
	return max(1, min(mostNines, math.Floor(math.Log10(float64(latencies)/few))))
}

// path goes through the quantiles in small steps.
func path(sorted []time.Duration, nines float64, y func(float64) float64) string {
	const steps = 240
	var b bytes.Buffer
	for i := range steps + 1 {
		q := 1 - math.Pow(10, -nines*float64(i)/steps)
		op := 'L'
		if i == 0 {
			op = 'M'
		}
		fmt.Fprintf(&b, "%c%.1f %.1f", op, float64(panelWidth*i)/steps, y(micros(quantile(sorted, q))))
	}
	return b.String()
}

// ticks are 1, 2 and 5 of each power of ten between two values.
func ticks(least, most float64) []float64 {
	var t []float64
	for power := math.Floor(math.Log10(least)); power <= math.Log10(most); power++ {
		for _, digit := range []float64{1, 2, 5} {
			if v := digit * math.Pow(10, power); v >= least && v <= most {
				t = append(t, v)
			}
		}
	}
	return t
}

func latencyText(µs float64) string {
	if µs >= 1000 {
		return fmt.Sprintf("%g ms", µs/1000)
	}
	return fmt.Sprintf("%g µs", µs)
}
