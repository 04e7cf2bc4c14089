package dialect

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Bound is the most that a request can use. A relay reserves its cost before it sends the
// request. The length of the body bounds the input, because a token has at least one
// byte. The request's own cap bounds the output.
type Bound struct {
	// Usage is the bound with the request's own cap. Without a cap it includes no
	// output.
	Usage Usage

	// Cap is the cap of the output. Its Field is empty if the request needs none.
	Cap Cap

	// Tier is the requested service tier. Empty means the default.
	Tier string

	// cache is how the cache may change the price of the input.
	cache cacheUse
}

// Cap is a request's limit of its output in tokens, including reasoning.
type Cap struct {
	Field string // the provider's name, such as "generationConfig.maxOutputTokens"
	Limit int64  // 0 means that the request has none
	Times int64  // the number of outputs of that length

	// Rewrite reports that the provider may ignore the request's cap, so that
	// [Dialect.SetCap] must write it to another field.
	Rewrite bool

	// Speech reports that the output may be speech, whose tokens cost more.
	Speech bool
}

// cacheUse is how the input may be billed because of a cache.
type cacheUse uint8

const (
	readsCache   cacheUse = iota // as cache reads, which cost no more than input
	writesCache                  // as cache writes for minutes
	writesLonger                 // as cache writes for an hour or longer
)

// Cases returns the usages that the call may be billed as. The most expensive one is the
// bound of the cost.
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

// Unbounded is the error for a request whose cost has no bound. It quotes only names of
// fields and types.
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

// Rules for several fields.
const (
	ruleUnknown   = "its cost has no bound; remove it"
	ruleStored    = "it refers to content outside the request, so its cost has no bound; send the content itself"
	ruleElsewhere = "media at a URL have no bounded size; send images as base64"
	ruleMedia     = "the cost of such media has no bound; send PNG, JPEG, GIF or WebP images"
	ruleSound     = "the length of such a recording is unknown; send WAV with PCM, or MP3"
	ruleHosted    = "the cost of hosted tools has no bound; use functions"
)

// bounds describes how to bound the requests of a route.
type bounds struct {
	// members lists the fields with a bounded cost, and their checks. All others
	// are refused, unless they are null.
	members map[string]check

	// caps lists the paths of the fields that cap the output, the preferred one
	// last. Empty means that the output needs no cap.
	caps []string

	// forms allows bodies that are forms.
	forms bool

	// begin sets defaults.
	begin func(*bounder)

	// finish computes values that depend on several fields.
	finish func(*bounder)
}

// check reads a field whose cost is bounded. Nil means that its length bounds the cost.
type check func(b *bounder, m member) error

// bounder bounds one request.
type bounder struct {
	Bound
	d     *Dialect
	model string
	form  bool // whether the body is a form

	inline    int64 // bytes of media in the body
	tokens    int64 // tokens of such media, and of the provider's additions
	recorded  int64 // milliseconds of recordings
	answers   int64 // requested answers per prompt
	images    int64 // tokens of each generated image
	partial   int64 // partial images before each
	prompts   int64 // prompts in the request
	spoken    int64 // characters to speak
	describes int64 // tokens of an image in the input, at most
}

// maxAnswers is the largest number of answers to one request.
const maxAnswers = 128

// Bound returns the most that a request can use. Its errors are [*Unbounded] and
// [*Unclear].
func (d *Dialect) Bound(r *Request) (Bound, error) {
	row := d.routeOf(r)
	switch {
	case row == nil || row.bounds == nil:
		return Bound{}, unbounded("path", "the cost of this route has no bound; use a token without a budget")
	case r.WebSocket:
		return Bound{}, unbounded("path", "the cost of a WebSocket depends on its messages; bound those")
	case row.form.free:
		return Bound{}, nil
	}
	return d.boundBody(r, row.bounds)
}

// boundBody bounds a request by the rules of its route.
func (d *Dialect) boundBody(r *Request, rules *bounds) (Bound, error) {
	members, form, err := d.bodyMembers(r)
	if err != nil {
		return Bound{}, err
	}
	if form && !rules.forms {
		return Bound{}, unbounded("body", "the cost of a form has no bound; send JSON")
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

// modelOf returns the model that a request names in its body or else in its path.
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

// finish computes the bound.
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

// bodyMembers returns the members of a JSON body or the parts of a form. The values of
// parts are not quoted.
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

// number parses a positive integer.
func (b *bounder) number(m member, most int64) (int64, error) {
	n, ok := parseDecimal(m.value, 0, most)
	if !ok || n == 0 || bytes.ContainsAny(m.value, ".eE") {
		return 0, unbounded(m.name, "it must be a whole number from 1 to %d", most)
	}
	return n, nil
}

// readCap reads a cap of the output. The highest of several counts, because the
// provider's choice is unknown.
func readCap(b *bounder, m member) error { return b.readCap(m, m.name) }

func (b *bounder) readCap(m member, path string) error {
	n, err := b.number(m, maxTokens)
	if err != nil {
		return err
	}
	b.Cap.Field, b.Cap.Limit = path, max(b.Cap.Limit, n)
	return nil
}

// readAnswers reads the number of answers.
func readAnswers(b *bounder, m member) error {
	n, err := b.number(m, maxAnswers)
	b.answers = max(b.answers, n)
	return err
}

// readTier reads the requested service tier.
func readTier(b *bounder, m member) error {
	tier, err := b.text(m)
	if tier != "auto" {
		b.Tier = tier
	}
	return err
}

// text returns the string in a field.
func (b *bounder) text(m member) (string, error) {
	switch {
	case b.form:
		return string(m.value), nil
	case m.value[0] != '"':
		return "", unbounded(m.name, "it must be a string")
	}
	text, err := unquote(m.value)
	if err != nil {
		return "", errNotJSON
	}
	return text, nil
}

// refuse returns a check that refuses a field.
func refuse(rule string) check {
	return func(_ *bounder, m member) error { return unbounded(m.name, "%s", rule) }
}

// onlyFalse refuses all values but false.
func onlyFalse(_ *bounder, m member) error {
	if string(m.value) != "false" {
		return unbounded(m.name, ruleUnknown)
	}
	return nil
}

// only returns a check that accepts only these strings, and lists of them.
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

// within returns a check for an object with these fields.
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

// objectMembers returns the members of an object in a field.
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

// listValues returns the values of a list in a field.
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

// plainly lists fields whose length bounds their cost.
func plainly(names ...string) map[string]check {
	members := make(map[string]check, len(names))
	for _, name := range names {
		members[name] = nil
	}
	return members
}

// joined merges lists of fields.
func joined(lists ...map[string]check) map[string]check {
	members := make(map[string]check)
	for _, list := range lists {
		for name, c := range list {
			members[name] = c
		}
	}
	return members
}
