package relayapi

import "encoding/binary"

// Frames of a WebSocket (RFC 6455, section 5.2). There is no more of the protocol
// here than it takes to look into messages and to end a connection in words; the
// rest is between the client and the provider.

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xa

	closePolicy = 1008 // RFC 6455, section 7.4.1
)

type frameHeader struct {
	final    bool
	reserved bool // for extensions, of which there is none
	opcode   byte
	masked   bool
	mask     [4]byte
	length   uint64 // of the payload
}

// parseFrameHeader parses the header that p begins with. Its size is 0 while it
// is incomplete.
func parseFrameHeader(p []byte) (h frameHeader, size int) {
	if len(p) < 2 {
		return h, 0
	}
	h = frameHeader{final: p[0]&0x80 != 0, reserved: p[0]&0x70 != 0, opcode: p[0] & 0x0f, masked: p[1]&0x80 != 0}
	size = 2
	switch length := p[1] & 0x7f; length {
	case 126:
		if size = 4; len(p) >= size {
			h.length = uint64(binary.BigEndian.Uint16(p[2:]))
		}
	case 127:
		if size = 10; len(p) >= size {
			h.length = binary.BigEndian.Uint64(p[2:])
		}
	default:
		h.length = uint64(length)
	}
	if h.masked {
		if size += 4; len(p) >= size {
			h.mask = [4]byte(p[size-4:])
		}
	}
	if len(p) < size {
		return h, 0
	}
	return h, size
}

// frameTracker follows a stream of frames as far as to know where one ends.
type frameTracker struct {
	header []byte // of the frame that has begun, while it is incomplete
	left   uint64 // of its payload

	payload func(p []byte) // is told of payloads; nil: nobody is
}

// follow takes what comes next in the stream.
func (t *frameTracker) follow(p []byte) {
	for len(p) > 0 {
		if t.left > 0 {
			n := min(t.left, uint64(len(p)))
			if t.payload != nil {
				t.payload(p[:n])
			}
			t.left -= n
			p = p[n:]
			continue
		}
		before := len(t.header)
		t.header = append(t.header, p[:min(len(p), 14-before)]...) // no header is longer
		h, size := parseFrameHeader(t.header)
		if size == 0 {
			return
		}
		p = p[size-before:]
		t.header, t.left = t.header[:0], h.length
	}
}

// between reports whether the stream is between two frames.
func (t *frameTracker) between() bool { return t.left == 0 && len(t.header) == 0 }

// closeFrame is what a server says at the end.
func closeFrame(code uint16, reason string) []byte {
	reason = reason[:min(len(reason), 123)] // a control frame has at most 125 bytes
	frame := []byte{0x80 | opClose, byte(2 + len(reason))}
	return append(binary.BigEndian.AppendUint16(frame, code), reason...)
}
