package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// writeHead says on what was measured, and how to read the tables.
func writeHead(w io.Writer, b *bench) {
	m := b.machine
	fmt.Fprintf(w, "Measured on %s, %d cores; Linux %s, %s, Caddy %s", m.CPU, m.Cores, m.Kernel, m.Go, m.Caddy)
	if m.Nginx != "" {
		fmt.Fprintf(w, ", nginx %s", m.Nginx)
	}
	fmt.Fprintf(w, ".\nGenerator, upstream and one subject at a time share the cores. The upstream alone, under the same load, answers %s requests/s.\n",
		number(b.alone, 0))
	generators := "vegeta"
	if b.wrk != nil {
		generators = "wrk, and over HTTP/2 vegeta"
	}
	fmt.Fprintf(w, "%d rounds of %v for each measurement. Closed loops keep %d connections busy (%s); latency is that of open loops of\n"+
		"%d requests/s to each subject, to all in turn at the same time (vegeta). CPU and allocations are per request, event or round trip.\n\n",
		b.rounds, b.duration, connections, generators, gateRate)
	fmt.Fprintf(w, "`bare` is Caddy's reverse_proxy with a static key, `bare again` a second process of the same; all are started anew for each round. A ratio\n"+
		"is of two measurements of one round: the median of all rounds, and in parentheses the least and the greatest. Where the relay's median\n"+
		"is not farther from 1 than `bare again` was in any round, the difference is noise and shown as none.\n")
}

// writeTable writes what came out of a scenario.
func writeTable(w io.Writer, out *outcome) {
	fmt.Fprintf(w, "\n### %s\n\n%s\n\n", out.scenario.name, out.scenario.about)
	compared := []string{relay, bareAgain}
	if len(out.rounds[nginx]) > 0 {
		compared = append(compared, nginx)
	}
	fmt.Fprintf(w, "| | bare | relay | difference | %s ÷ bare |\n|---|--:|--:|--:|%s\n",
		strings.Join(compared, " ÷ bare | "), strings.Repeat("--:|", len(compared)))
	for _, m := range metrics {
		of := values(out.rounds[bare], m.name)
		if len(of) == 0 {
			continue
		}
		cells := []string{m.label, number(spreadOf(of).median, m.digits),
			number(spreadOf(values(out.rounds[relay], m.name)).median, m.digits), out.difference(m.name)}
		for _, name := range compared {
			cells = append(cells, ratioText(ratios(out.rounds[name], out.rounds[bare], m.name)))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	if len(out.atTheGate) > 0 {
		fmt.Fprintf(w, "\nA commit of one row in SQLite, %d a second beside the gate, takes %s µs (%s µs when one follows the other); the relay's p50 is bare's and %s of those.\n",
			gateRate, number(micros(median(out.atTheGate)), 0), number(micros(out.inARow), 0), ratioText(out.commits()))
	}
}

// none is a difference that is not more than noise.
const none = "none"

// difference is the relay's from bare in a metric, or that there is none to see.
func (o *outcome) difference(metric string) string {
	r := ratios(o.rounds[relay], o.rounds[bare], metric)
	if len(r) == 0 {
		return "–"
	}
	d := spreadOf(r).median - 1
	if math.Abs(d) <= noise(ratios(o.rounds[bareAgain], o.rounds[bare], metric)) {
		return none
	}
	return fmt.Sprintf("%s %%", signed(100*d))
}

// commits is what the relay adds to the median latency, in commits beside the gate
// of the same round.
func (o *outcome) commits() (added []float64) {
	for i, f := range o.rounds[relay] {
		added = append(added, (f[latencyP50]-o.rounds[bare][i][latencyP50])/micros(o.atTheGate[i]))
	}
	return added
}

// signed writes a whole number with its sign.
func signed(x float64) string {
	if x > 0 {
		return "+" + number(x, 0)
	}
	return number(x, 0)
}

func ratioText(r []float64) string {
	if len(r) == 0 {
		return "–"
	}
	s := spreadOf(r)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.least, s.most)
}

// number writes a number with a space between thousands.
func number(x float64, digits int) string {
	if math.IsNaN(x) {
		return "–"
	}
	text := strconv.FormatFloat(x, 'f', digits, 64)
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "−", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "\u202f" + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return sign + whole
}
