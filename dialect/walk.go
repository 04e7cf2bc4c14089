package dialect

import (
	"encoding/binary"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a place in a JSON value that a walker watches. Nodes form a graph, because
// several places may share what is below them. They are read-only after init.
type node struct {
	members map[string]*node // of an object
	element *node            // of an array
	leaf    leaf             // the meaning of a number, a text or a literal here
	end     ending           // the action at the end of an object here
}

// at returns the node at a path below n and creates missing nodes. Dots separate names,
// and "[]" means the elements of an array.
func (n *node) at(path string) *node {
	for name := range strings.SplitSeq(path, ".") {
		name, list := strings.CutSuffix(name, "[]")
		if n.members == nil {
			n.members = make(map[string]*node)
		}
		next := n.members[name]
		if next == nil {
			next = new(node)
			n.members[name] = next
		}
		n = next
		if list {
			if n.element == nil {
				n.element = new(node)
			}
			n = n.element
		}
	}
	return n
}

// Limits of a walker's memory.
const (
	maxWatched = 12  // levels of watched containers
	maxName    = 64  // bytes of a watched name
	maxScalar  = 256 // bytes of a watched value
)

// walker parses JSON in pieces of any length and reports the values at watched places to
// a sink. It buffers at most one short value. It does not validate: invalid JSON may
// yield some values or none. [walker.reset] drops an incomplete value.
type walker struct {
	root *node
	sink *sink

	open    [maxWatched]level // the watched containers
	depth   int               // the length of open
	skipped int               // open brackets in a value that is not watched
	state   walkState
	isName  bool   // whether the current text is a member's name
	wanted  *node  // the node of the next value; nil if it is not watched
	keeps   bool   // whether the current text or literal is buffered
	escaped bool   // whether it has an escape
	kept    []byte // the buffered part of it
	room    [maxScalar]byte
	done    bool // whether a value is complete
	ended   bool // whether the last byte closed an object, spaces aside
}

// level is a watched container.
type level struct {
	node   *node
	object bool
	named  bool // whether a member's value is due
}

type walkState uint8

const (
	between walkState = iota
	inText
	inEscape
	inLiteral
)

// reset drops an incomplete value.
func (w *walker) reset() {
	w.depth, w.skipped, w.state, w.done = 0, 0, between, false
	w.wanted = w.root
}

// write parses the next piece.
func (w *walker) write(p []byte) {
	for i := 0; i < len(p); {
		switch w.state {
		case between:
			i += w.structure(p[i:])
		case inText:
			i += w.text(p[i:])
		case inEscape:
			w.keep(p[i : i+1])
			w.state = inText
			i++
		case inLiteral:
			i += w.literal(p[i:])
		}
	}
}

// afterElement reports whether the input so far ends after an object in the outermost
// list.
func (w *walker) afterElement() bool {
	return w.ended && w.state == between && w.skipped == 0 && w.depth == 1 && !w.open[0].object
}

// structure parses the input up to the next text or literal. It returns the number of
// bytes.
func (w *walker) structure(p []byte) int {
	for i, c := range p {
		switch c {
		case ' ', '\n', '\t', '\r':
			continue
		}
		w.ended = c == '}'
		switch c {
		case '"':
			w.beginText()
			return i + 1
		case '{', '[':
			w.enter(c)
		case '}', ']':
			w.leave()
		case ',':
			w.next()
		case ':':
		default:
			if w.skipped == 0 && isLiteral[c] {
				w.state, w.isName = inLiteral, false
				w.begin(w.wanted != nil && w.wanted.leaf != 0)
				return i
			}
		}
	}
	return len(p)
}

// enter opens a container.
func (w *walker) enter(bracket byte) {
	n := w.wanted
	if w.skipped > 0 || n == nil || w.depth == maxWatched {
		w.skipped++
		return
	}
	if n.leaf != 0 {
		w.sink.long(n.leaf)
	}

	object := bracket == '{'
	if object && n.members == nil || !object && n.element == nil {
		w.skipped++
		return
	}
	if object {
		w.sink.begin(n.end)
	}
	w.open[w.depth] = level{node: n, object: object}
	w.depth++
	w.wanted = nil
	if !object {
		w.wanted = n.element
	}
}

// leave closes a container.
func (w *walker) leave() {
	switch {
	case w.skipped > 1:
		w.skipped--
	case w.skipped == 1:
		w.skipped = 0
		w.valueEnded()
	case w.depth > 0:
		w.depth--
		if l := w.open[w.depth]; l.object {
			w.sink.finish(l.node.end)
		}
		w.valueEnded()
	}
}

// valueEnded updates the state after a value.
func (w *walker) valueEnded() {
	switch {
	case w.depth == 0:
		w.done, w.wanted = true, w.root
	case w.open[w.depth-1].object:
		w.open[w.depth-1].named, w.wanted = false, nil
	default:
		w.wanted = w.open[w.depth-1].node.element
	}
}

// next updates the state after a comma.
func (w *walker) next() {
	if w.skipped == 0 && w.depth > 0 {
		w.valueEnded()
	}
}

// beginText begins a text, which is a name or a value.
func (w *walker) beginText() {
	w.state, w.isName = inText, false
	if w.skipped > 0 {
		w.begin(false)
		return
	}
	if w.depth > 0 {
		l := &w.open[w.depth-1]
		w.isName = l.object && !l.named
	}
	w.begin(w.isName || w.wanted != nil && w.wanted.leaf != 0)
}

// begin begins a text or a literal, and buffers it if keep is set.
func (w *walker) begin(keep bool) {
	w.keeps, w.escaped, w.kept = keep, false, w.room[:0]
}

// keep buffers a piece of the current text, unless that gets too long.
func (w *walker) keep(p []byte) {
	if !w.keeps {
		return
	}
	if len(w.kept)+len(p) > maxScalar {
		w.keeps = false
		return
	}
	w.kept = append(w.kept, p...)
}

// text parses a text up to its end or an escape.
func (w *walker) text(p []byte) int {
	n := plainLength(p)
	w.keep(p[:n])
	if n == len(p) {
		return n
	}
	if p[n] == '\\' {
		w.keep(p[n : n+1])
		w.escaped, w.state = true, inEscape
		return n + 1
	}

	w.state = between
	switch {
	case w.skipped > 0:
	case w.isName:
		w.named()
	default:
		if w.keeps {
			w.sink.text(w.wanted.leaf, w.unescaped())
		} else if w.wanted != nil && w.wanted.leaf != 0 { // it is too long
			w.sink.long(w.wanted.leaf)
		}
		w.valueEnded()
	}
	return n + 1
}

// plainLength returns the number of bytes before a quote or a backslash.
func plainLength(p []byte) int {
	i := 0
	for i+8 <= len(p) && plain(binary.LittleEndian.Uint64(p[i:])) {
		i += 8
	}
	for i < len(p) && p[i] != '"' && p[i] != '\\' {
		i++
	}
	return i
}

// named looks up the node for the name of a member.
func (w *walker) named() {
	l := &w.open[w.depth-1]
	l.named, w.wanted = true, nil
	if w.keeps && len(w.kept) <= maxName {
		w.wanted = l.node.members[string(w.unescaped())]
	}
}

// unescaped returns the buffered text with its escapes decoded.
func (w *walker) unescaped() []byte {
	if !w.escaped {
		return w.kept
	}
	quoted := append(append([]byte{'"'}, w.kept...), '"')
	text, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return nil
	}
	return text
}

// literal parses a number, true, false or null.
func (w *walker) literal(p []byte) int {
	n := 0
	for n < len(p) && isLiteral[p[n]] {
		n++
	}
	w.keep(p[:n])
	if n == len(p) {
		return n
	}

	w.state = between
	if w.keeps && w.wanted != nil {
		w.sink.literal(w.wanted.leaf, w.kept)
	}
	w.valueEnded()
	return n
}
