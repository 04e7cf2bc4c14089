package realkey

import (
	"bytes"
	"cmp"
	"io"
	"strings"
)

// Stream returns a reader that blanks the key in what it reads, by as many stars
// as it takes, so that lengths stay true. It keeps nothing back but what may be
// the beginning of the key. Of errors it blanks every piece of the key, in
// whichever escaping; of all else the whole key, in the escapings that encoders
// write.
func (k *Key) Stream(r io.Reader, isError bool) io.Reader {
	if k.bytes == "" {
		return r
	}
	t := k.tables()
	if isError {
		return &stream{r: r, blank: t.blankPieces, pending: t.pendingPiece}
	}
	return &stream{r: r, blank: t.blankWhole, pending: t.pendingWhole}
}

type stream struct {
	r       io.Reader
	blank   func(text []byte)
	pending func(text []byte) int // how long the end is that may be the beginning of a key

	held  []byte // what was read and has not passed
	ready []byte // what may pass, where there was no room for it
	room  []byte // to read into where the reader has little
	err   error
}

// leastRoom is how much there must be room for in a read. It is more than the
// longest escaping of a key of usual length.
const leastRoom = 4 << 10

func (s *stream) Read(p []byte) (int, error) {
	for len(s.ready) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		buf := p
		if need := leastRoom + len(s.held); len(p) < need {
			if len(s.room) < need {
				s.room = make([]byte, need)
			}
			buf = s.room
		}

		n := s.fill(buf)
		switch {
		case len(buf) != len(p) || &buf[0] != &p[0]:
			s.ready = buf[:n]
		case n > 0:
			return n, s.err
		}
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

// fill reads into buf and returns how much of that may pass.
func (s *stream) fill(buf []byte) int {
	n := copy(buf, s.held)
	more, err := s.r.Read(buf[n:])
	n += more
	s.err = err

	s.blank(buf[:n])
	keep := 0
	if err == nil {
		keep = s.pending(buf[:n])
	}
	s.held = append(s.held[:0], buf[n-keep:n]...)
	return n - keep
}

func (t *table) blankWhole(text []byte) {
	t.eachWhole(text, func(start, end int) { blank(text[start:end]) })
}

// eachWhole calls f with where each whole key begins and ends in a text.
func (t *table) eachWhole(text []byte, f func(start, end int)) {
	for i := range t.needles {
		n := &t.needles[i]
		if n.lead != 0 && bytes.IndexByte(text, n.lead) < 0 {
			continue
		}
		for from := 0; ; from++ {
			at := bytes.Index(text[from:], n.text)
			if at < 0 {
				break
			}
			from += at
			if size, found := t.match(n, text[from:]); found == whole {
				f(from, from+size)
			}
		}
	}
}

// outcome says how far a text is a key.
type outcome int

const (
	no     outcome = iota
	partly         // all of it, but the key goes on
	whole
)

// match tells whether a text begins with the key, and with how many characters.
func (t *table) match(n *needle, text []byte) (size int, found outcome) {
	want := cmp.Or(n.all, t.plain[0])
	for i := 0; i < len(want); {
		if size >= len(text) {
			return size, partly
		}
		c, width := text[size], 1
		if n.all == "" {
			c, width = unescape(text[size:])
		}
		switch {
		case width == 0: // a zero of UTF-16
			size++
			continue
		case c == want[i]:
			size, i = size+width, i+1
			continue
		case n.all == "" && cutEscape(text, size):
			return size, partly
		}
		return size, no
	}
	return size, whole
}

// cutEscape reports whether a text ends within an escape that begins at a place or
// shortly before it.
func cutEscape(text []byte, place int) bool {
	start := max(0, place-maxEscape)
	at := bytes.LastIndexAny(text[start:place+1], `%\&`)
	return at >= 0 && isCut(text[start+at:])
}

// pendingWhole is how long the end of a text is that may be the beginning of a
// key.
func (t *table) pendingWhole(text []byte) int {
	tail := text[max(0, len(text)-t.longest):]
	for from, c := range tail {
		if !t.starts[c] {
			continue
		}
		for i := range t.needles {
			n := &t.needles[i]
			if n.all != "" && n.all[0] != c || n.all == "" && i > 0 { // all needles without a text of their own match alike
				continue
			}
			if _, found := t.match(n, tail[from:]); found == partly {
				return len(tail) - from
			}
		}
	}
	return 0
}

func (t *table) blankPieces(text []byte) {
	t.eachPiece(text, func(start, end int) { blank(text[start:end]) })
}

// maxEscape is how many characters may stand for one.
const maxEscape = 16

// pendingPiece is how long the end of a text is that may be the beginning of a
// piece, or of an escape.
func (t *table) pendingPiece(text []byte) int {
	start := max(0, len(text)-(t.size+1)*maxEscape)
	tail := text[start:]
	escape := 0
	if at := bytes.LastIndexAny(tail, `%\&`); at >= 0 && isCut(tail[at:]) {
		escape = len(tail) - at
		for at > 0 && tail[at-1] == '\\' { // a run of backslashes is one escape
			at, escape = at-1, escape+1
		}
	}

	whole := tail[:len(tail)-escape]
	plain, at := plainText(whole)
	for size := min(t.size-1, len(plain)); size > 0; size-- {
		end := string(plain[len(plain)-size:])
		for _, form := range t.plain {
			if strings.Contains(form, end) {
				return len(tail) - at.of(len(plain)-size)
			}
		}
	}
	return escape
}

func blank(text []byte) {
	for i := range text {
		text[i] = '*'
	}
}

// Finder finds the whole key in a stream that it cannot change.
type Finder struct {
	table *table
	tail  []byte
}

// Finder returns a finder of the key; nil if there is no key.
func (k *Key) Finder() *Finder {
	if k.bytes == "" {
		return nil
	}
	return &Finder{table: k.tables()}
}

// Find reports whether the key ends within what comes next in the stream.
func (f *Finder) Find(text []byte) bool {
	if f == nil {
		return false
	}
	f.tail = append(f.tail, text...)
	found := false
	f.table.eachWhole(f.tail, func(_, _ int) { found = true })
	f.tail = append(f.tail[:0], f.tail[len(f.tail)-f.table.pendingWhole(f.tail):]...)
	return found
}
