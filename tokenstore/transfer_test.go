package tokenstore

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// filled makes a store with something in every table.
func filled(t *testing.T) string { return filledOf(t, onSQLite) }

func filledOf(t *testing.T, k kind) string {
	t.Helper()
	path := k.place(t)
	s := k.openAt(t, path)
	for i := range 5 {
		tok := newToken(fmt.Sprint("t", i))
		admit(t, s, tok, tok.calls(int64(i+1), 6)) // the last of them raises a warning
		s.Observe(tok, "", Usage{Calls: 1, Succeeded: 1, BytesIn: 7, BytesOut: 9, Duration: time.Millisecond})
	}
	ten := int64(10)
	label := "a \"label\"\n\u00e4"
	if _, err := s.Update(t.Context(), "acme", "t1", Change{Limits: map[Unit]*int64{UnitCalls: &ten}, Label: &label}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.Revoke(t.Context(), Revocation{Scope: ScopeToken, Issuer: "acme", ID: "t2", Before: noon.AddDate(1000, 0, 0)}),
		s.SetLimit(t.Context(), Limit{Scope: ScopeSubject, ID: "acme/user-1", Unit: UnitTokens, Per: "day", Amount: 3}),
		s.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// lines exports a store; the order of rows in a table does not matter.
func lines(t *testing.T, path string) []string {
	t.Helper()
	var out bytes.Buffer
	if _, err := Export(t.Context(), path, &out, nil); err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(strings.Lines(out.String()))
	slices.Sort(all[1 : len(all)-1])
	return all
}

func TestImportedStoreIsTheExportedOne(t *testing.T) {
	path := filled(t)
	s := openAt(t, path) // the export does not mind
	want := lines(t, path)
	var told []int64
	copied := filepath.Join(t.TempDir(), "copy.db")
	rows, err := Import(t.Context(), copied, strings.NewReader(strings.Join(want, "")), func(done, all int64) { told = append(told, done, all) })
	if err != nil || rows != int64(len(want)-2) || len(told) != 2*int(rows) || told[len(told)-1] != rows {
		t.Fatalf("imported %d rows, %v, told of %v", rows, err, told)
	}
	if got := lines(t, copied); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c := openAt(t, copied)
	if !c.Birth().Equal(s.Birth()) {
		t.Error("the copy has another birth")
	}
	tok := newToken("t4")
	admit(t, c, tok, tok.calls(5, 10))
	wantRefused(t, c, ErrExhausted, tok, tok.calls(1, 10))
	wantRefused(t, c, ErrRevoked, newToken("t2"))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), copied, strings.NewReader(strings.Join(want, "")), nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("imported twice: %v", err)
	}
	if _, err := Import(t.Context(), path, strings.NewReader(strings.Join(want, "")), nil); !errors.Is(err, ErrLocked) {
		t.Errorf("imported into a store in use: %v", err)
	}
}

// Exports of version 1 count calls only; the first of them lack claimed_calls.
func TestImport_EarlierExport(t *testing.T) {
	earlier := []string{
		`{"format":"relayapi-store","version":1,"rows":5}`,
		`{"kind":"meta","key":"birth","value":1906545600}`,
		`{"kind":"token","issuer":"acme","id":"t1","subject":"user-1","provider":"openai",` +
			`"fingerprint":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","issued_at":1906545600,"expires_at":1906549200,` +
			`"first_seen":1906545600,"label":"","disabled":0,"calls_limit":10,"last_seen":0,"calls":1,"succeeded":1,` +
			`"client_errors":0,"provider_errors":0,"bytes_in":7,"bytes_out":9,"duration_us":1000}`,
		`{"kind":"counter","scope":"token","id":"acme/t1","unit":"calls","window_start":0,"used":2}`,
		`{"kind":"limit","scope":"subject","id":"acme/user-1","per":"day","calls":3,"made_at":1906545600}`,
		`{"kind":"usage","day":1906502400,"provider":"openai","issuer":"acme","subject":"user-1","calls":1,"succeeded":1,` +
			`"client_errors":0,"provider_errors":0,"bytes_in":7,"bytes_out":9,"duration_us":1000}`,
		`{"kind":"end","rows":5}`,
	}
	path := filepath.Join(t.TempDir(), "new.db")
	if _, err := Import(t.Context(), path, strings.NewReader(strings.Join(earlier, "\n")), nil); err != nil {
		t.Fatal(err)
	}

	s := openAt(t, path)
	r, err := s.Token(t.Context(), "acme", "t1")
	if err != nil || r.ClaimedCalls != nil || r.CallsLimit == nil || *r.CallsLimit != 10 || r.CallsCounted != 2 {
		t.Errorf("got %+v, %v, want the override 10, no claimed limit and 2 calls", r, err)
	}
	want := Limit{Scope: ScopeSubject, ID: "acme/user-1", Unit: UnitCalls, Per: "day", Amount: 3}
	if got := s.Limits().Limits; len(got) != 1 || got[0] != want {
		t.Errorf("got limits %+v, want %+v", got, want)
	}
	if rows, err := s.UsageReport(t.Context(), UsageFilter{}); err != nil || len(rows) != 1 || rows[0].Calls != 1 {
		t.Errorf("got usage %+v, %v, want a row with one call", rows, err)
	}
	wantSums(t, s)
}

func TestImportRefuses(t *testing.T) {
	good := lines(t, filled(t))
	last := len(good) - 1 // the warning is moved there, so that edits find a counter first
	warned := slices.IndexFunc(good, func(line string) bool { return strings.Contains(line, `"kind":"warning"`) })
	good = slices.Delete(slices.Insert(good, last, good[warned]), warned, warned+1)
	edit := func(from, to string) []string {
		return slices.Collect(strings.Lines(strings.Replace(strings.Join(good, ""), from, to, 1)))
	}
	for name, tc := range map[string]struct {
		lines []string
		says  string
	}{
		"nothing":              {nil, "line 1: not an export"},
		"something else":       {[]string{"{}\n"}, "line 1: not an export"},
		"a later version":      {edit(`"version":3`, `"version":4`), "line 1: the export has version 4"},
		"cut short":            {good[:len(good)-1], "cut short"},
		"a line less":          {slices.Delete(slices.Clone(good), 3, 4), "rows"},
		"more after the end":   {append(slices.Clone(good), good[2]), "something after it"},
		"a line twice":         {slices.Insert(slices.Clone(good), 2, good[1]), "line 3"},
		"an unknown kind":      {edit(`"kind":"counter"`, `"kind":"count"`), "an unknown kind"},
		"an unknown member":    {edit(`"used":`, `"spent":`), "used of a counter is missing"},
		"a member more":        {edit(`"used":`, `"x":1,"used":`), "a counter has 5 members"},
		"a negative count":     {edit(`"used":`, `"used":-`), "used of a counter is not a whole number"},
		"a fraction":           {edit(`"used":`, `"used":0.`), "used of a counter is not a whole number"},
		"a count as text":      {edit(`"window_start":0`, `"window_start":"0"`), "not a whole number"},
		"a text as number":     {edit(`"unit":"calls"`, `"unit":1`), "unit of a counter is not a string"},
		"a null":               {edit(`"unit":"calls"`, `"unit":null`), "unit of a counter is not a string"},
		"a short fingerprint":  {edit(`"fingerprint":"`, `"fingerprint":"AAAA`), "line"},
		"a birth that is lost": {edit(`"key":"birth"`, `"key":"death"`), "the birth of its store"},
		"no JSON":              {edit(`{"`, `{`), "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "new.db")
			_, err := Import(t.Context(), path, strings.NewReader(strings.Join(tc.lines, "")), nil)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
			if s, err := Check(t.Context(), path); err != nil || s.Tokens+s.Counters != 0 {
				t.Errorf("left %+v, %v", s, err)
			}
		})
	}
}
