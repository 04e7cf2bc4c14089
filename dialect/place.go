package dialect

import (
	"net/url"
	"slices"
	"strings"
)

// inPath returns where in a path the model's name stands; end is 0 where there
// is none.
func (d *Dialect) inPath(path string) (start, end int, err error) {
	for _, p := range d.paths {
		rest, ok := strings.CutPrefix(path, p.start)
		if !ok && len(path) >= len(p.start) && strings.EqualFold(path[:len(p.start)], p.start) {
			return 0, 0, otherCase(p.start)
		}
		if !ok {
			continue
		}
		i := strings.Index(rest, p.mark)
		if p.mark == ":" { // what follows the last one is the method
			i = strings.LastIndex(rest, p.mark)
		}
		if i > 0 {
			return len(p.start), len(p.start) + i, nil
		}
	}
	return 0, 0, nil
}

func (d *Dialect) writesQuery(path string) bool { return d.inQuery != nil && d.inQuery(path) }

func (d *Dialect) readQuery(r *Request, n *Naming) error {
	if r.RawQuery == "" {
		return nil
	}
	counts := d.writesQuery(r.Path) || d.inQuery == nil && r.WebSocket
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(r.RawQuery, "&") {
		name, value, err := unescapePair(pair)
		if err != nil {
			return err
		}
		listed := slices.Contains(d.query, name)
		named, other, err := d.names(name)
		switch i := slices.IndexFunc(d.query, func(q string) bool { return strings.EqualFold(q, name) }); {
		case !listed && i >= 0:
			return otherCase(d.query[i])
		case !listed && err != nil:
			return err
		case !listed && !named && !other:
			continue
		case seen[name]:
			return unclear("the parameter %s is there twice", name)
		case value == "":
			return unclear("the parameter %s is empty", name)
		}
		seen[name] = true
		if !listed || !counts { // the provider does not read it here
			n.Others = append(n.Others, d.trim(value))
		} else if err := n.add(d.trim(value)); err != nil {
			return err
		}
	}
	return nil
}

func unescapePair(pair string) (name, value string, err error) {
	name, value, _ = strings.Cut(pair, "=")
	name, err1 := url.QueryUnescape(name)
	value, err2 := url.QueryUnescape(value)
	if err1 != nil || err2 != nil {
		return "", "", unclear("the query does not parse")
	}
	return name, value, nil
}

// writeQuery replaces the parameter that names the model. The others keep their
// bytes.
func (d *Dialect) writeQuery(r *Request, model string) error {
	var pairs []string
	written := d.query[0]
	for pair := range strings.SplitSeq(r.RawQuery, "&") {
		name, _, err := unescapePair(pair)
		switch {
		case err != nil:
			return err
		case slices.Contains(d.query, name):
			written = name
		case pair != "":
			pairs = append(pairs, pair)
		}
	}
	r.RawQuery = strings.Join(append(pairs, written+"="+url.QueryEscape(model)), "&")
	return nil
}
