package metrics

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Words of PromQL, as far as dashboards and alerts here need them.
var (
	quoted     = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector   = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\s*\{([^{}]*)\}`)
	metricName = regexp.MustCompile(`\bcaddy_relayapi\w*`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)`)
	matcher    = regexp.MustCompile(`^\s*(\w+)\s*(=~|!~|!=|=)\s*$`)
)

// checkExpression returns what is wrong with the metrics and labels of an expression.
// Labels that Prometheus adds are known.
func checkExpression(expr string) (problems []string) {
	exported := make(map[string]Family)
	for _, f := range Families() {
		exported[f.Name] = f
		if f.Type == "histogram" {
			delete(exported, f.Name) // has no samples of that name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				part := f
				if suffix == "_bucket" {
					part.Labels = append(slices.Clone(f.Labels), "le")
				}
				exported[f.Name+suffix] = part
			}
		}
	}

	bare := quoted.ReplaceAllString(expr, "") // values of labels may have any text
	known := []string{"instance", "job"}
	names := metricName.FindAllString(bare, -1)
	for _, name := range names {
		f, ok := exported[name]
		if !ok {
			problems = append(problems, fmt.Sprintf("metric %s is not exported", name))
		}
		known = append(known, f.Labels...)
	}
	if len(names) == 0 {
		problems = append(problems, "it names no metric")
	}

	for _, s := range selector.FindAllStringSubmatch(bare, -1) {
		f, ok := exported[s[1]]
		if !ok {
			continue // told above, unless it is no metric of the relay
		}
		for _, m := range strings.Split(s[2], ",") {
			parts := matcher.FindStringSubmatch(m)
			if parts == nil {
				problems = append(problems, fmt.Sprintf("%s: %q is no matcher of a label", s[1], m))
			} else if !slices.Contains(append([]string{"instance", "job"}, f.Labels...), parts[1]) {
				problems = append(problems, fmt.Sprintf("%s has no label %s", s[1], parts[1]))
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(bare, -1) {
		for _, label := range strings.Split(g[1], ",") {
			if label = strings.TrimSpace(label); label != "" && !slices.Contains(known, label) {
				problems = append(problems, fmt.Sprintf("no metric of it has the label %s", label))
			}
		}
	}
	return problems
}

func TestCheckExpression(t *testing.T) {
	for expr, want := range map[string]string{
		`sum by (provider, le) (rate(caddy_relayapi_time_to_first_byte_seconds_bucket{provider=~"$provider", instance="a"}[5m]))`: "",
		`caddy_relayapi_store_up == 0`:                                        "",
		`rate(caddy_relayapi_requests_total{outcome="caddy_relayapi_x"}[5m])`: "",
		`rate(caddy_relayapi_request_total[5m])`:                              "metric caddy_relayapi_request_total is not exported",
		`rate(caddy_relayapi_commit_duration_seconds[5m])`:                    "metric caddy_relayapi_commit_duration_seconds is not exported",
		`rate(caddy_relayapi_store_up_bucket[5m])`:                            "metric caddy_relayapi_store_up_bucket is not exported",
		`caddy_relayapi_in_flight{model="m"}`:                                 "caddy_relayapi_in_flight has no label model",
		`caddy_relayapi_commit_duration_seconds_count{le="1"}`:                "caddy_relayapi_commit_duration_seconds_count has no label le",
		`sum by (subject) (caddy_relayapi_in_flight)`:                         "no metric of it has the label subject",
		`caddy_relayapi_in_flight{kind}`:                                      `caddy_relayapi_in_flight: "kind" is no matcher of a label`,
		`up == 0`:                                                             "it names no metric",
	} {
		if got := strings.Join(checkExpression(expr), "; "); got != want {
			t.Errorf("%s: got %q, want %q", expr, got, want)
		}
	}
}

// exprLine is an expression in a file of rules, of one line or of several.
var exprLine = regexp.MustCompile(`(?m)^( *)expr: (?:\|\n((?:  +.*\n)+)|(.+)\n)`)

func TestAlerts_NameWhatIsExported(t *testing.T) {
	data, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules := string(data)
	found := exprLine.FindAllStringSubmatch(rules, -1)
	if want := strings.Count(rules, "- alert: "); len(found) != want || want < 10 {
		t.Fatalf("got %d expressions of %d alerts", len(found), want)
	}
	for _, m := range found {
		expr := m[3]
		for line := range strings.Lines(m[2]) { // of a block, which ends where the indent does
			if !strings.HasPrefix(line, m[1]+"  ") {
				break
			}
			expr += line
		}
		for _, problem := range checkExpression(expr) {
			t.Errorf("%s: %s", strings.TrimSpace(expr), problem)
		}
	}

	// What the texts say of metrics is checked too.
	for _, name := range metricName.FindAllString(rules, -1) {
		if !slices.ContainsFunc(Families(), func(f Family) bool { return strings.HasPrefix(name, f.Name) }) {
			t.Errorf("metric %s is not exported", name)
		}
	}
}

func TestDashboard_NamesWhatIsExported(t *testing.T) {
	data, err := os.ReadFile("../../deploy/grafana/relayapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Query any }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}

	shown := make(map[string]bool)
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q: its id is taken, or it is beyond the page", p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, problem := range checkExpression(target.Expr) {
				t.Errorf("panel %q: %s: %s", p.Title, target.Expr, problem)
			}
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				shown[name] = true
			}
		}
	}
	for _, v := range dashboard.Templating.List {
		query, ok := v.Query.(map[string]any)
		if !ok {
			continue // the data source
		}
		text, _ := query["query"].(string)
		metric, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(text, "label_values("), ")"), ", ")
		for _, problem := range checkExpression(fmt.Sprintf("sum by (%s) (%s)", label, metric)) {
			t.Errorf("variable %s: %s", text, problem)
		}
	}

	// Every metric is on the dashboard.
	for _, f := range Families() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(shown)), func(name string) bool {
			return name == f.Name || f.Type == "histogram" && strings.HasPrefix(name, f.Name+"_")
		}) {
			t.Errorf("no panel shows %s", f.Name)
		}
	}
}

// tableRow is a row of the table of metrics: its name with labels, its type and its meaning.
var tableRow = regexp.MustCompile("(?m)^\\| `(caddy_relayapi_\\w+)(?:\\{([\\w, ]*)\\})?` \\| (\\w+) \\| (.+) \\|$")

func TestDocs_ListEveryMetric(t *testing.T) {
	data, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range tableRow.FindAllStringSubmatch(string(data), -1) {
		got = append(got, strings.TrimSpace(row[1]+" "+strings.ReplaceAll(row[2], ",", ""))+" "+row[3]+" "+row[4])
	}
	var want []string
	for _, f := range Families() {
		want = append(want, strings.Join(append([]string{f.Name}, f.Labels...), " ")+" "+f.Type+" "+f.Help)
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, row := range want {
		if !slices.Contains(got, row) {
			t.Errorf("docs/operations.md lacks %q", row)
		}
	}
	for _, row := range got {
		if !slices.Contains(want, row) {
			t.Errorf("docs/operations.md has %q, which is not exported", row)
		}
	}
}
