package dialect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bound is the most that a request can use, so that its cost can be reserved
// before it is sent. The input is bounded by its length: no tokenizer makes more
// than one token of a byte. The output is bounded by the request's own cap.
type Bound struct {
	// Usage is the bound, with the output at the cap that the request has. Where
	// it has none, no output is in it.
	Usage Usage

	// Cap is where the request caps its output. Its Field is empty for requests
	// whose output needs no cap.
	Cap Cap

	// Tier is the service tier that the request asks for. Empty: the default.
	Tier string

	// cache is how the input may be billed besides.
	cache cacheUse
}

// Cap is a request's own limit of its output in tokens. Reasoning is within it.
type Cap struct {
	Field string // as the provider calls it: "generationConfig.maxOutputTokens"
	Limit int64  // 0: the request has none
	Times int64  // how many outputs of that length the request asks for

	// Rewrite is set if the provider may not read the cap that the request has.
	// [Dialect.SetCap] writes it where it does.
	Rewrite bool

	// Speech is set if the output may be speech, whose tokens are dearer.
	Speech bool
}

// cacheUse is whether the input may be billed as written to a cache.
type cacheUse uint8

const (
	readsCache   cacheUse = iota // which costs no more than the input itself
	writesCache                  // for minutes
	writesLonger                 // for an hour or more
)

// Cases are what the call may be billed as. The dearest of them is its bound.
func (b *Bound) Cases() []Usage {
	cases := []Usage{b.Usage}
	for _, use := range []cacheUse{writesCache, writesLonger} {
		if b.cache < use {
			break
		}
		u := b.Usage
		u.Input = 0
		if use == writesCache {
			u.CacheWrite = b.Usage.Input
		} else {
			u.CacheWriteHour = b.Usage.Input
		}
		cases = append(cases, u)
	}
	return cases
}

// Unbounded says why a request's cost cannot be bounded. It quotes nothing of the
// request except names of fields and types.
type Unbounded struct {
	Field string
	Rule  string
}

func (u *Unbounded) Error() string {
	return fmt.Sprintf("field %q: %s", u.Field, u.Rule)
}

// unbounded returns an error about a field.
func unbounded(field, rule string, args ...any) error {
	return &Unbounded{quotable(field), fmt.Sprintf(rule, args...)}
}

// Rules that several fields break.
const (
	ruleUnknown   = "its cost is not bounded; leave it out"
	ruleStored    = "it stands for content that the request does not have, so its cost is not bounded; send the content itself"
	ruleElsewhere = "media at another place have no bounded size; send images as base64"
	ruleMedia     = "the cost of such media is not bounded; send PNG, JPEG, GIF or WebP images"
	ruleSound     = "the length of such a recording cannot be told; send WAV with PCM, or MP3"
	ruleHosted    = "hosted tools have no bounded cost; send functions"
)

// bounds is a row of a table: how the requests of a route are bounded.
type bounds struct {
	// members are those of the body that have a bounded cost, and what checks
	// them. Whatever is not listed is refused, unless it is null.
	members map[string]check

	// caps are the paths of the members that cap the output. Where a request has
	// none of them, the last one is inserted whose object is there. Empty: there
	// is no output.
	caps []string

	// forms is set if the body may be a form.
	forms bool

	// begin sets what the request has if it does not say.
	begin func(*bounder)

	// finish computes what depends on several members.
	finish func(*bounder)
}

// check reads a member whose cost is bounded. A nil one is bounded by its length.
type check func(b *bounder, m member) error

// bounder bounds one request.
type bounder struct {
	Bound
	d     *Dialect
	model string
	form  bool // the body is a form

	inline    int64 // bytes of the body that are media and no text
	tokens    int64 // of such media, and of what the provider adds
	recorded  int64 // milliseconds of recordings
	answers   int64 // that the request asks for
	images    int64 // the size of each, in tokens
	partial   int64 // images that come before each
	streams   bool
	prompts   int64
	spoken    int64 // characters
	describes int64 // tokens that an image of the input may have
}

// maxAnswers is how many answers a request may ask for at once.
const maxAnswers = 128

// Bound returns the most that a request can use. Its errors are [*Unbounded], and
// [*Unclear] for bodies that parsers could read in two ways.
func (d *Dialect) Bound(r *Request) (Bound, error) {
	row := d.routeOf(r)
	switch {
	case row == nil || row.bounds == nil:
		return Bound{}, unbounded("path", "the cost of this route is not bounded; ask for a token without a budget")
	case r.WebSocket:
		return Bound{}, unbounded("path", "the cost of a WebSocket is bounded by its messages")
	case row.form.free:
		return Bound{}, nil
	}
	return d.boundBody(r, row.bounds)
}

// boundBody bounds a request by a row of the table.
func (d *Dialect) boundBody(r *Request, rules *bounds) (Bound, error) {
	members, form, err := d.bodyMembers(r)
	if err != nil {
		return Bound{}, err
	}
	if form && !rules.forms {
		return Bound{}, unbounded("body", "the cost of a form is not bounded; send JSON")
	}
	b := &bounder{d: d, form: form, answers: 1, prompts: 1, model: d.modelOf(r, members, form)}
	b.describes = d.imageTokens(b.model)
	if rules.begin != nil {
		rules.begin(b)
	}

	for _, m := range members {
		read, known := rules.members[m.name]
		switch {
		case string(m.value) == "null" && !form:
		case !known:
			return Bound{}, unbounded(m.name, ruleUnknown)
		case read != nil:
			if err := read(b, m); err != nil {
				return Bound{}, err
			}
		}
	}
	b.finish(r, rules)
	return b.Bound, nil
}

// modelOf is the model that a request names in its body or else in its path.
func (d *Dialect) modelOf(r *Request, members []member, form bool) string {
	if model := dataOf(members, "model"); len(model) > 1 && model[0] == '"' && !form {
		text, _ := unquote(model)
		return text
	}
	found, err := d.inPath(r)
	if err != nil {
		return ""
	}
	return found.name(d, r.Path)
}

// finish adds up what was found.
func (b *bounder) finish(r *Request, rules *bounds) {
	b.Usage.Requests = 1
	b.Usage.Input += max(int64(len(r.Body))-b.inline, 0) + b.tokens
	if rules.finish != nil {
		rules.finish(b)
	}
	if len(rules.caps) == 0 {
		return
	}
	b.Cap.Times = b.answers * b.prompts
	b.Cap.Rewrite = b.Cap.Limit > 0 && misread(r.Body, rules.caps, b.d.capPath(rules.caps, b.model))
	b.Cap.Field = cmp.Or(b.Cap.Field, insertable(r.Body, rules.caps, b.d.capPath(rules.caps, b.model)))
	b.Usage.Output = b.Cap.Limit * b.Cap.Times
}

// bodyMembers are the members of a body, whatever its form. Those of a form have
// texts for values that are not quoted.
func (d *Dialect) bodyMembers(r *Request) (members []member, form bool, err error) {
	boundary, err := formBoundary(r.ContentType)
	if err != nil {
		return nil, false, err
	}
	if boundary != "" {
		err = eachPart(r.Body, boundary, func(p part, start, end int) error {
			members = append(members, member{p.name, r.Body[start:end]})
			return nil
		})
		return members, true, err
	}
	err = eachMember(r.Body, func(name string, start, end int) error {
		members = append(members, member{name, r.Body[start:end]})
		return nil
	})
	return members, false, err
}

// number reads a positive integer.
func (b *bounder) number(m member, most int64) (int64, error) {
	n, ok := parseDecimal(m.value, 0, most)
	if !ok || n == 0 || bytes.ContainsAny(m.value, ".eE") {
		return 0, unbounded(m.name, "it must be a whole number from 1 to %d", most)
	}
	return n, nil
}

// readCap reads a cap of the output. If there are several, the highest counts,
// because nobody could say which one the provider takes.
func readCap(b *bounder, m member) error { return b.readCap(m, m.name) }

func (b *bounder) readCap(m member, path string) error {
	n, err := b.number(m, maxTokens)
	if err != nil {
		return err
	}
	b.Cap.Field, b.Cap.Limit = path, max(b.Cap.Limit, n)
	return nil
}

// readAnswers reads how many answers a request asks for.
func readAnswers(b *bounder, m member) error {
	n, err := b.number(m, maxAnswers)
	b.answers = max(b.answers, n)
	return err
}

// readTier reads the service tier that a request asks for.
func readTier(b *bounder, m member) error {
	tier, err := b.text(m)
	if tier != "auto" && tier != "default" {
		b.Tier = tier
	}
	return err
}

// readStream reads whether the answer is to be a stream.
func readStream(b *bounder, m member) error {
	b.streams = string(m.value) == "true"
	return nil
}

// text returns the text that a member has.
func (b *bounder) text(m member) (string, error) {
	switch {
	case b.form:
		return string(m.value), nil
	case m.value[0] != '"':
		return "", unbounded(m.name, "it must be a text")
	}
	text, err := unquote(m.value)
	if err != nil {
		return "", errNotJSON
	}
	return text, nil
}

// refuse returns a check that refuses a member.
func refuse(rule string) check {
	return func(_ *bounder, m member) error { return unbounded(m.name, "%s", rule) }
}

// onlyFalse refuses a member that is not false.
func onlyFalse(_ *bounder, m member) error {
	if string(m.value) != "false" {
		return unbounded(m.name, ruleUnknown)
	}
	return nil
}

// only returns a check that refuses all texts but these, also in a list.
func only(texts ...string) check {
	return func(b *bounder, m member) error {
		values := [][]byte{m.value}
		if !b.form && m.value[0] == '[' {
			var err error
			if values, err = valuesOf(m.value); err != nil {
				return errNotJSON
			}
		}
		for _, v := range values {
			if text, err := b.text(member{m.name, v}); err != nil || !slices.Contains(texts, text) {
				return unbounded(m.name, "it must be one of %s", strings.Join(texts, ", "))
			}
		}
		return nil
	}
}

// within returns a check of an object with members of its own.
func within(members map[string]check) check {
	return func(b *bounder, m member) error {
		inner, err := objectMembers(m)
		if err != nil {
			return err
		}
		for _, one := range inner {
			read, known := members[one.name]
			switch {
			case string(one.value) == "null":
			case !known:
				return unbounded(m.name+"."+one.name, ruleUnknown)
			case read != nil:
				if err := read(b, one); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// objectMembers returns the members of an object that is a member's value.
func objectMembers(m member) ([]member, error) {
	if m.value[0] != '{' {
		return nil, unbounded(m.name, "it must be an object")
	}
	members, err := membersOf(m.value)
	if err != nil {
		return nil, errNotJSON
	}
	return members, nil
}

// listValues returns the values of a list that is a member's value.
func listValues(m member) ([][]byte, error) {
	if m.value[0] != '[' {
		return nil, unbounded(m.name, "it must be a list")
	}
	values, err := valuesOf(m.value)
	if err != nil {
		return nil, errNotJSON
	}
	return values, nil
}

// plainly lists members that are bounded by their length.
func plainly(names ...string) map[string]check {
	members := make(map[string]check, len(names))
	for _, name := range names {
		members[name] = nil
	}
	return members
}

// all joins lists of members.
func joined(lists ...map[string]check) map[string]check {
	members := make(map[string]check)
	for _, list := range lists {
		for name, c := range list {
			members[name] = c
		}
	}
	return members
}
