package relayapi

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/relayapi/caddy-relayapi/internal/adminapi"
	"github.com/relayapi/caddy-relayapi/internal/mint"
)

// adminAnswers are the answers of the admin API, by request.
var adminAnswers = map[string]any{
	"POST /relayapi/tokens":                        mint.Minted{},
	"GET /relayapi/tokens":                         adminapi.Page{},
	"GET /relayapi/tokens/{issuer}/{id}":           adminapi.Record{},
	"PATCH /relayapi/tokens/{issuer}/{id}":         adminapi.Updated{},
	"DELETE /relayapi/tokens/{issuer}/{id}":        adminapi.Revoked{},
	"PUT /relayapi/tokens/{issuer}/{id}/heartbeat": adminapi.Heartbeat{},
	"POST /relayapi/revocations":                   adminapi.Revoked{},
	"GET /relayapi/calls":                          adminapi.Calls{},
	"DELETE /relayapi/calls/{id}":                  adminapi.Call{},
	"GET /relayapi/limits":                         adminapi.Limits{},
	"PUT /relayapi/limits":                         adminapi.Limit{},
	"DELETE /relayapi/limits":                      adminapi.Limit{},
	"GET /relayapi/usage":                          adminapi.UsageReport{},
	"GET /relayapi/status":                         adminapi.Status{},
	"GET /relayapi/keys":                           adminapi.Keys{},
	"POST /relayapi/inspect":                       mint.Inspection{},
}

// The page of the admin API has a heading for each request, and names every member of
// the answers.
func TestDocs_DescribeTheAdminAPI(t *testing.T) {
	page := readPage(t, "docs/admin-api.md")
	var want []string
	for _, route := range new(adminAPI).Routes() {
		if route.Pattern == "/relayapi/tokens/{id}" {
			continue // the same as with {issuer}
		}
		for method := range route.Handler.(adminMethods) {
			want = append(want, method+" "+route.Pattern)
		}
	}
	var got []string
	for _, heading := range page.headings {
		if request, ok := strings.CutPrefix(heading, "### `"); ok {
			got = append(got, strings.TrimSuffix(request, "`"))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got headings\n%q, want\n%q", got, want)
	}
	if answers := slices.Sorted(maps.Keys(adminAnswers)); !slices.Equal(answers, want) {
		t.Fatalf("got answers of\n%q, want of\n%q", answers, want)
	}

	text := page.prose
	for _, b := range page.blocks {
		text += b.text
	}
	for request, answer := range adminAnswers {
		names := members(reflect.TypeOf(answer))
		if len(names) == 0 {
			t.Errorf("the answer to %s has no members", request)
		}
		for _, name := range names {
			if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, `"`+name+`":`) {
				t.Errorf("the member %q of %s is not described", name, request)
			}
		}
	}
}

// members returns the names of a type's members in JSON, and of their members. Claims
// have a page of their own.
func members(of reflect.Type) (names []string) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		return members(of.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	for i := range of.NumField() {
		field := of.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !field.IsExported() || name == "-" || name == "claims" {
			continue
		}
		if strings.HasSuffix(name, "_nanousd") && options == "omitzero" {
			continue // shown in dollars
		}
		if name != "" {
			names = append(names, name)
		}
		if name != "" || field.Anonymous {
			names = append(names, members(field.Type)...)
		}
	}
	return names
}

// The examples of answers have only real members, with possible values.
func TestDocs_ExamplesOfTheAdminAPIParse(t *testing.T) {
	data, err := os.ReadFile("docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, section := range strings.Split(string(data), "\n### `")[1:] {
		request, rest, _ := strings.Cut(section, "`")
		_, example, ok := strings.Cut(rest, "```json\n")
		if !ok {
			continue
		}
		seen++
		example, _, _ = strings.Cut(example, "```")
		decoder := json.NewDecoder(strings.NewReader(example))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(reflect.New(reflect.TypeOf(adminAnswers[request])).Interface()); err != nil {
			t.Errorf("the answer to %s: %v, in\n%s", request, err, example)
		}
	}
	if seen < 10 {
		t.Errorf("got %d examples, want 10 or more", seen)
	}
}
