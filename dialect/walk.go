package dialect

import (
	"encoding/binary"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a place in JSON values that a walker watches. Nodes form a tree, or a
// graph where several places have the same below them. They are built once and
// only read afterwards.
type node struct {
	members map[string]*node // of an object
	element *node            // of an array
	leaf    leaf             // what a number, a text or a literal here means
	end     ending           // what to do when an object that was here ends
}

// at returns the node at a path below n, and makes the nodes that are missing.
// Names are separated by dots; "[]" stands for the elements of an array.
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

// What a walker keeps at most.
const (
	maxWatched = 12  // levels that are watched
	maxName    = 64  // bytes of a name that may be watched
	maxScalar  = 256 // bytes of a value that may be watched
)

// walker reads JSON as it comes, in pieces of any length, and tells a sink what
// stands at the places that are watched. It keeps no more than one short value.
// It does not validate: of a text that is no JSON it understands something or
// nothing, and [walker.reset] makes it forget.
type walker struct {
	root *node
	sink *sink

	open    [maxWatched]level // the containers that are watched
	depth   int               // of open
	skipped int               // brackets that are open in a value that is not watched
	state   walkState
	isName  bool   // the text or literal that is being read is a member's name
	wanted  *node  // the node of the value that comes next; nil: it is not watched
	keeps   bool   // what is being read is kept
	escaped bool   // it has an escape
	kept    []byte // what is kept of it
	room    [maxScalar]byte
	done    bool // a whole value was read
	ended   bool // nothing came after the end of an object
}

// level is a container that is watched.
type level struct {
	node   *node
	object bool
	named  bool // a member's name was read, and its value not yet
}

type walkState uint8

const (
	between walkState = iota
	inText
	inEscape
	inLiteral
)

// reset forgets a value that is not complete.
func (w *walker) reset() {
	w.depth, w.skipped, w.state, w.done = 0, 0, between, false
	w.wanted = w.root
}

// write reads the next piece.
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

// afterElement reports whether what was read ends in an object that is an element
// of the outermost list.
func (w *walker) afterElement() bool {
	return w.ended && w.state == between && w.skipped == 0 && w.depth == 1 && !w.open[0].object
}

// structure reads what stands outside of texts and literals, up to the next of
// them. It returns how much it read.
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

// valueEnded prepares for what follows a value.
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

// next prepares for what follows a comma.
func (w *walker) next() {
	if w.skipped == 0 && w.depth > 0 {
		w.valueEnded()
	}
}

// beginText begins a text: a name, or a value.
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

// begin begins a text or a literal, and keeps it if that is asked for.
func (w *walker) begin(keep bool) {
	w.keeps, w.escaped, w.kept = keep, false, w.room[:0]
}

// keep keeps a piece of what is being read, unless that gets too long.
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

// text reads a text, up to its end or an escape.
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
		} else if w.wanted != nil && w.wanted.leaf != 0 { // too long to be kept
			w.sink.long(w.wanted.leaf)
		}
		w.valueEnded()
	}
	return n + 1
}

// plainLength is how many bytes of p come before a quote or a backslash.
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

// named looks up the node of a member whose name was read.
func (w *walker) named() {
	l := &w.open[w.depth-1]
	l.named, w.wanted = true, nil
	if w.keeps && len(w.kept) <= maxName {
		w.wanted = l.node.members[string(w.unescaped())]
	}
}

// unescaped is the text that was kept, without its escapes.
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

// literal reads a number, true, false or null, up to what ends it.
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
