package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/relayapi/caddy-relayapi/internal/cli"
	"github.com/spf13/cobra"
)

// docPage is a Markdown file.
type docPage struct {
	file     string
	headings []string // with their marks: "## Quick start"
	blocks   []codeBlock
	prose    string // all lines outside blocks
}

// codeBlock is a fenced block of code.
type codeBlock struct {
	at   string // file and line
	lang string
	text string
}

// docPages returns the pages that users read.
func docPages(t *testing.T) []docPage {
	t.Helper()
	var files []string
	for _, pattern := range []string{"README*.md", "SECURITY.md", "CONTRIBUTING.md", "docs/*.md", "examples/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no such page (%v)", pattern, err)
		}
		files = append(files, found...)
	}

	var pages []docPage
	for _, file := range files {
		pages = append(pages, readPage(t, file))
	}
	return pages
}

// readPage splits a page into headings, blocks and prose.
func readPage(t *testing.T, file string) docPage {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	p := docPage{file: file}
	var open *codeBlock
	for i, line := range strings.Split(string(data), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &codeBlock{at: fmt.Sprintf("%s:%d", file, i+1), lang: fence}
		case isFence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			p.headings = append(p.headings, line)
		default:
			p.prose += line + "\n"
		}
	}
	if open != nil {
		t.Errorf("%s: the block has no end", open.at)
	}
	return p
}

func TestDocs_AdaptsEveryCaddyfile(t *testing.T) {
	blocks := exampleCaddyfiles(t)
	for _, p := range docPages(t) {
		for _, b := range p.blocks {
			if b.lang == "caddyfile" && !isSynopsis(b) {
				blocks = append(blocks, b)
			}
		}
	}

	for _, b := range blocks {
		t.Run(b.at, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(b.text))); formatted != b.text {
				t.Errorf("is not formatted; want\n%s", formatted)
			}
			whole := caddyfile.Format([]byte(wrapped(b.text)))
			config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(whole, nil)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("got error %v and warnings %v, want none, of\n%s", err, warnings, whole)
			}
			if len(config) == 0 {
				t.Error("adapts to nothing")
			}
		})
	}
}

// exampleCaddyfiles returns the Caddyfiles below examples.
func exampleCaddyfiles(t *testing.T) []codeBlock {
	t.Helper()
	var blocks []codeBlock
	for _, pattern := range []string{"examples/Caddyfile", "examples/*/Caddyfile", "deploy/compose/*.Caddyfile"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no such file (%v)", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			blocks = append(blocks, codeBlock{at: file, text: string(data)})
		}
	}
	return blocks
}

// serverOptions are Caddy's global options that the docs show without their block.
var serverOptions = []string{"admin", "grace_period", "log", "metrics", "servers", "storage"}

// wrapped makes a Caddyfile of a fragment. A fragment starts with an option of the relay,
// with one of its directive, or with a global option of Caddy's. All else is a whole
// Caddyfile.
func wrapped(text string) string {
	first := firstWord(text)
	switch {
	case slices.Contains(globalLines, first):
		return "{\n\trelayapi {\n" + text + "}\n}\n:80 {\n\trelayapi\n}\n"
	case first == "relayapi":
		return ":80 {\n" + text + "}\n"
	case slices.Contains(siteLines, first):
		return ":80 {\n\trelayapi {\n" + text + "}\n}\n"
	case slices.Contains(serverOptions, first):
		return "{\n" + text + "}\n:80 {\n\trelayapi\n}\n"
	}
	return text
}

// firstWord returns the first word of a text that is not a comment.
func firstWord(text string) string {
	for _, line := range strings.Split(text, "\n") {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			return words[0]
		}
	}
	return ""
}

// isSynopsis reports whether a block shows the form of options, not options.
func isSynopsis(b codeBlock) bool { return strings.Contains(b.text, "[<matcher>]") }

func TestDocs_ListEveryOption(t *testing.T) {
	got := synopsis(t, readPage(t, "docs/caddyfile.md"))
	want := map[string][]string{
		"relayapi":             slices.Clone(globalLines),
		"relayapi [<matcher>]": slices.Clone(siteLines),
		"issuer":               append(slices.Collect(maps.Keys(issuerLines)), "when"),
		"provider":             providerLines(t),
	}
	for section, names := range want {
		slices.Sort(names)
		slices.Sort(got[section])
		if !slices.Equal(got[section], names) {
			t.Errorf("docs/caddyfile.md, block %s: got\n%v, want\n%v", section, got[section], names)
		}
	}
}

// providerLines returns the options of a provider, which its parser tells.
func providerLines(t *testing.T) []string {
	t.Helper()
	d := caddyfile.NewTestDispenser("nothing")
	d.Next()
	_, list, ok := strings.Cut(fmt.Sprint(new(Provider).unmarshalLine(d)), "must be one of ")
	list, _, _ = strings.Cut(list, ", at ")
	if !ok {
		t.Fatal("the parser does not tell the options of a provider")
	}
	return strings.Split(list, ", ")
}

// synopsis returns the options of each block in the synopsis of a page.
func synopsis(t *testing.T, p docPage) map[string][]string {
	t.Helper()
	i := slices.IndexFunc(p.blocks, isSynopsis)
	if i < 0 {
		t.Fatalf("%s has no synopsis", p.file)
	}

	options := make(map[string][]string)
	var within []string
	for _, line := range strings.Split(p.blocks[i].text, "\n") {
		line = strings.TrimSpace(line)
		head, opens := strings.CutSuffix(line, " {")
		names, _, _ := strings.Cut(head, " ")
		if len(within) > 0 && line != "}" && line != "" && !strings.HasPrefix(line, "#") {
			section := within[len(within)-1]
			options[section] = append(options[section], strings.Split(names, "|")...)
		}
		switch {
		case opens && head == "relayapi [<matcher>]":
			within = append(within, head)
		case opens || line == "{":
			within = append(within, names)
		case line == "}":
			within = within[:len(within)-1]
		}
	}
	return options
}

// commandStart is where a command of the relay's begins.
var commandStart = regexp.MustCompile(`\bcaddy relayapi\b`)

func TestDocs_ParsesEveryCommand(t *testing.T) {
	seen := 0
	for _, p := range docPages(t) {
		for _, b := range p.blocks {
			if b.lang != "sh" && b.lang != "ini" && b.lang != "dockerfile" && b.lang != "yaml" {
				continue
			}
			for _, line := range strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
				if at := commandStart.FindStringIndex(line); at != nil && !strings.HasPrefix(strings.TrimSpace(line), "#") {
					seen++
					if err := checkCommand(shellWords(line[at[1]:]), true); err != nil {
						t.Errorf("%s: %q: %v", b.at, line, err)
					}
				}
			}
		}
		for _, code := range inlineCode.FindAllStringSubmatch(p.prose, -1) {
			if at := commandStart.FindStringIndex(code[1]); at != nil && at[0] == 0 {
				seen++
				if err := checkCommand(shellWords(code[1][at[1]:]), false); err != nil {
					t.Errorf("%s: %q: %v", p.file, code[1], err)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("got %d commands, want 20 or more", seen)
	}
}

var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// shellWords splits the rest of a line of shell into words, up to the end of the command.
func shellWords(rest string) []string {
	var words []string
	var word strings.Builder
	quote, started := rune(0), false
	end := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	for _, c := range rest {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, started = c, true
		case quote == 0 && c == ' ':
			end()
		case quote == 0 && (strings.ContainsRune("|;&)", c) || c == '>' && !strings.HasPrefix(word.String(), "<") || c == '#' && !started):
			end()
			return words
		default:
			word.WriteRune(c)
			started = true
		}
	}
	end()
	return words
}

// checkCommand looks a command up in the tree of commands. A whole one has all the
// arguments that it needs.
func checkCommand(words []string, whole bool) error {
	if i := slices.Index(words, "…"); i >= 0 {
		words, whole = words[:i], false
	}
	root := &cobra.Command{Use: cli.Command.Name}
	cli.Command.CobraFunc(root)
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("%s has no command %q", cmd.CommandPath(), rest[0])
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}

	helps, _ := cmd.Flags().GetBool("help")
	switch {
	case cmd.HasSubCommands() && whole && !helps:
		return fmt.Errorf("%s only prints its help", cmd.CommandPath())
	case whole && !helps:
		if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
			return err
		}
		return cmd.ValidateArgs(cmd.Flags().Args())
	}
	return nil
}

// healthCommand is the command by which the image checks its health.
var healthCommand = regexp.MustCompile(`(?s)HEALTHCHECK .*?CMD (\[.*?\])`)

func TestDocs_HealthCheckOfTheImageParses(t *testing.T) {
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := healthCommand.FindSubmatch(dockerfile)
	if found == nil {
		t.Fatal("the Dockerfile has no HEALTHCHECK in JSON form; without a shell no other works")
	}
	var words []string
	if err := json.Unmarshal(found[1], &words); err != nil {
		t.Fatalf("%s: %v", found[1], err)
	}
	if len(words) < 3 || words[0] != "caddy" || words[1] != "relayapi" {
		t.Fatalf("got %q, want a command caddy relayapi", words)
	}
	if err := checkCommand(words[2:], true); err != nil {
		t.Errorf("%q: %v", words, err)
	}
}

func TestDocs_RefusesWrongCommands(t *testing.T) {
	for line, says := range map[string]string{
		" token crate --provider demo":         "crate",
		" token list --colour":                 "unknown flag: --colour",
		" token list extra":                    "unknown command",
		" limit set --scope subject":           "[calls tokens usd] is required",
		" token":                               "only prints its help",
		" store backup | cat":                  "accepts 1 arg",
		" token list --limit many # a comment": "invalid argument",
	} {
		if err := checkCommand(shellWords(line), true); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want an error that says %q", line, err, says)
		}
	}
}

func TestDocs_ChineseReadmeIsInStep(t *testing.T) {
	english, chinese := readPage(t, "README.md"), readPage(t, "README.zh-CN.md")

	level := func(heading string) string { return heading[:strings.Index(heading, " ")] }
	for i := range max(len(english.headings), len(chinese.headings)) {
		switch {
		case i >= len(chinese.headings):
			t.Fatalf("README.zh-CN.md lacks the heading of %q", english.headings[i])
		case i >= len(english.headings):
			t.Fatalf("README.md lacks the heading of %q", chinese.headings[i])
		case level(english.headings[i]) != level(chinese.headings[i]):
			t.Errorf("heading %d: got %q, want one of the level of %q", i+1, chinese.headings[i], english.headings[i])
		}
	}

	if got, want := len(chinese.blocks), len(english.blocks); got != want {
		t.Fatalf("got %d blocks of code, want %d", got, want)
	}
	for i, want := range english.blocks {
		if got := chinese.blocks[i]; got.lang != want.lang || got.text != want.text {
			t.Errorf("%s: got %s\n%s\nwant, as at %s, %s\n%s", got.at, got.lang, got.text, want.at, want.lang, want.text)
		}
	}
}

var (
	pageLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	notSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// slug returns the anchor of a heading.
func slug(heading string) string {
	text := strings.ToLower(strings.TrimLeft(heading, "# "))
	return strings.ReplaceAll(notSlug.ReplaceAllString(text, ""), " ", "-")
}

func TestDocs_LinksLeadSomewhere(t *testing.T) {
	for _, p := range docPages(t) {
		for _, link := range pageLink.FindAllStringSubmatch(p.prose, -1) {
			target, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(target, ":") {
				continue // of another site
			}
			file := p.file
			if target != "" {
				file = filepath.Join(filepath.Dir(p.file), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", p.file, link[1], err)
				continue
			}
			if anchor != "" && !slices.ContainsFunc(readPage(t, file).headings, func(h string) bool { return slug(h) == anchor }) {
				t.Errorf("%s: the link %s leads to no heading", p.file, link[1])
			}
		}
	}
}

// The package comment names the steps of a request in the order of the code.
func TestDocs_PackageCommentNamesTheSteps(t *testing.T) {
	source, err := os.ReadFile("relayapi.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(source), "\npackage ")
	var named, taken []string
	for _, line := range regexp.MustCompile(`(?m)^//\t(\w+) `).FindAllStringSubmatch(comment, -1) {
		named = append(named, line[1])
	}
	for _, step := range admission {
		name := runtime.FuncForPC(reflect.ValueOf(step).Pointer()).Name()
		taken = append(taken, name[strings.LastIndex(name, ".")+1:])
	}
	if !slices.Equal(named, taken) {
		t.Errorf("the package comment names the steps\n%q, the handler takes\n%q", named, taken)
	}
}

// CONTRIBUTING.md names every package under internal/ and every direct dependency.
func TestDocs_ContributingNamesPackagesAndDependencies(t *testing.T) {
	guide, err := os.ReadFile("CONTRIBUTING.md")
	packages, dirErr := os.ReadDir("internal")
	module, modErr := os.ReadFile("go.mod")
	if err := errors.Join(err, dirErr, modErr); err != nil {
		t.Fatal(err)
	}
	hasRow := func(name string) bool { return strings.Contains(string(guide), "\n| `"+name+"` | ") }

	for _, p := range packages {
		if !hasRow("internal/" + p.Name()) {
			t.Errorf("the layout table has no row for internal/%s", p.Name())
		}
	}

	direct := regexp.MustCompile(`(?m)^\t(?:github\.com/)?(\S+) v\S+$`).FindAllStringSubmatch(string(module), -1)
	if len(direct) == 0 {
		t.Fatal("go.mod has no direct dependency")
	}
	for _, m := range direct {
		// A row may name a parent of several modules, such as aws/aws-sdk-go-v2.
		path := m[1]
		for !hasRow(path) && strings.Contains(path, "/") {
			path = path[:strings.LastIndex(path, "/")]
		}
		if !hasRow(path) {
			t.Errorf("the table of dependencies has no row for %s", m[1])
		}
	}
}
