// Package ws reads as much of the WebSocket protocol (RFC 6455) as it takes to look
// into messages and to end a connection with a reason. Everything else is between
// the client and the provider.
package ws

import "encoding/binary"

// Opcodes (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPong         = 0xa
)

// ClosePolicy is the status of a close frame that a policy is the reason for
// (RFC 6455, section 7.4.1).
const ClosePolicy = 1008

// header is the header of a frame (RFC 6455, section 5.2).
type header struct {
	final    bool
	reserved bool // a bit of an extension is set; the relay accepts no extension
	opcode   byte
	masked   bool
	mask     [4]byte
	length   uint64 // of the payload
}

// parseHeader parses the header that p begins with. The size is 0 while it is
// incomplete.
func parseHeader(p []byte) (h header, size int) {
	if len(p) < 2 {
		return h, 0
	}
	h = header{final: p[0]&0x80 != 0, reserved: p[0]&0x70 != 0, opcode: p[0] & 0x0f, masked: p[1]&0x80 != 0}

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

// CloseFrame returns a server's close frame. The reason is cut to fit.
func CloseFrame(status uint16, reason string) []byte {
	reason = reason[:min(len(reason), 123)] // a control frame has at most 125 bytes
	frame := []byte{0x80 | opClose, byte(2 + len(reason))}
	return append(binary.BigEndian.AppendUint16(frame, status), reason...)
}

// appendFrame appends a client's frame with a whole message (RFC 6455, section 5.3).
func appendFrame(dst []byte, opcode byte, mask [4]byte, message []byte) []byte {
	dst = append(dst, 0x80|opcode)
	switch n := len(message); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	for i, c := range message {
		dst = append(dst, c^mask[i%4])
	}
	return dst
}

// Tracker follows a stream of frames, to know where one ends.
type Tracker struct {
	Payload func(p []byte) // called with each piece of a payload; nil means not at all
	Data    func(p []byte) // called with each piece of a message; nil means not at all
	Message func()         // called at the end of each message; nil means not at all

	header []byte // of the current frame, while it is incomplete
	left   uint64 // of its payload
	data   bool   // the frame is part of a message
	final  bool   // and ends it
}

// Follow reads the next part of the stream.
func (t *Tracker) Follow(p []byte) {
	for len(p) > 0 {
		if t.left > 0 {
			n := min(t.left, uint64(len(p)))
			if t.Payload != nil {
				t.Payload(p[:n])
			}
			if t.Data != nil && t.data {
				t.Data(p[:n])
			}
			t.left -= n
			p = p[n:]
			t.endFrame()
			continue
		}

		before := len(t.header)
		t.header = append(t.header, p[:min(len(p), 14-before)]...) // no header is longer
		h, size := parseHeader(t.header)
		if size == 0 {
			return
		}
		p = p[size-before:]
		t.header, t.left = t.header[:0], h.length
		t.data, t.final = h.opcode < opClose, h.final
		t.endFrame()
	}
}

// endFrame tells of the end of a message.
func (t *Tracker) endFrame() {
	if t.left == 0 && t.data && t.final && t.Message != nil {
		t.Message()
	}
}

// Between reports whether the stream is between two frames.
func (t *Tracker) Between() bool { return t.left == 0 && len(t.header) == 0 }
