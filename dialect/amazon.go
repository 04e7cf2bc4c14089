package dialect

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// Amazon's event streams are sequences of messages
// (https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html,
// https://smithy.io/2.0/aws/amazon-eventstream.html). Numbers are big endian:
//
//	length of the message  4 bytes
//	length of its headers  4 bytes
//	CRC-32 of these eight  4 bytes
//	headers                each: length of the name, name, type, value
//	payload
//	CRC-32 of all above    4 bytes
//
// The payload of Converse's messages is JSON. InvokeModel wraps the model's own event in
// base64: {"bytes":"…"}.
const (
	preludeLength   = 12
	trailerLength   = 4
	maxAmazonFrame  = 1 << 20
	amazonTextValue = 7 // the type of text values in headers
)

// frames splits an Amazon event stream into messages. It skips messages longer than
// maxAmazonFrame. After an invalid message it ignores the rest of the stream.
type frames struct {
	held    []byte // the buffered start of a message
	skip    int    // the remaining bytes of a skipped message
	broken  bool   // whether a message was invalid
	decoded []byte // a reused buffer for decoded events
}

// write reads the next piece of the stream.
func (f *frames) write(p []byte, m *Meter) {
	for len(p) > 0 && !f.broken {
		if f.skip > 0 {
			n := min(f.skip, len(p))
			f.skip -= n
			p = p[n:]
			continue
		}
		if len(f.held) == 0 { // do not copy a complete message
			if n := f.length(p); n > 0 && n <= min(len(p), maxAmazonFrame) {
				f.message(p[:n], m)
				p = p[n:]
				continue
			}
		}
		p = f.hold(p, m)
	}
}

// between reports whether the stream is between two messages.
func (f *frames) between() bool { return len(f.held) == 0 && f.skip == 0 && !f.broken }

// hold buffers p up to the end of the message and returns the rest.
func (f *frames) hold(p []byte, m *Meter) (rest []byte) {
	need := preludeLength
	if n := f.length(f.held); n > 0 {
		need = n
	}
	n := min(need-len(f.held), len(p))
	f.held = append(f.held, p[:n]...)

	length := f.length(f.held)
	switch {
	case f.broken:
	case length > maxAmazonFrame:
		f.skip = length - len(f.held)
		f.held = f.held[:0]
	case length > 0 && length == len(f.held):
		f.message(f.held, m)
		f.held = f.held[:0]
	}
	return p[n:]
}

// length returns the length of the message at the start of p, or 0 if p is too short. It
// checks the start of the message.
func (f *frames) length(p []byte) int {
	if len(p) < preludeLength {
		return 0
	}
	total, headers := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
	if crc32.ChecksumIEEE(p[:8]) != binary.BigEndian.Uint32(p[8:]) || total > 1<<30 ||
		uint64(total) < uint64(headers)+preludeLength+trailerLength {
		f.broken = true
		return 0
	}
	return int(total)
}

// message reads a complete message.
func (f *frames) message(p []byte, m *Meter) {
	end := len(p) - trailerLength
	if crc32.ChecksumIEEE(p[:end]) != binary.BigEndian.Uint32(p[end:]) {
		f.broken = true
		return
	}
	headers := int(binary.BigEndian.Uint32(p[4:]))
	if isException(p[preludeLength : preludeLength+headers]) {
		m.sink.failed = true
		return
	}

	data := p[preludeLength+headers : end]
	if m.sink.form == invokeForm {
		data = f.decode(data)
	}
	m.event(data)
	m.endEvent()
	m.sink.done = m.sink.done || m.sink.fallback.has != 0 || m.sink.form == converseForm && m.sink.kept.has != 0
}

// decode returns the event in a chunk of InvokeModel.
func (f *frames) decode(data []byte) []byte {
	_, text, ok := bytes.Cut(data, []byte(`"bytes":"`))
	text, _, closed := bytes.Cut(text, []byte{'"'})
	if !ok || !closed {
		return nil
	}
	decoded, err := base64.StdEncoding.AppendDecode(f.decoded[:0], text)
	f.decoded = decoded
	if err != nil {
		return nil
	}
	return decoded
}

// isException reports whether the headers mark an exception or an error.
func isException(headers []byte) bool {
	for len(headers) > 0 {
		n := int(headers[0])
		if len(headers) < n+4 {
			return false
		}
		name, kind := headers[1:1+n], headers[1+n]
		if kind != amazonTextValue { // Bedrock sends no others
			return false
		}
		length := int(binary.BigEndian.Uint16(headers[2+n:]))
		headers = headers[4+n:]
		if len(headers) < length {
			return false
		}
		value := string(headers[:length])
		if string(name) == ":message-type" && value != "event" {
			return true
		}
		headers = headers[length:]
	}
	return false
}

// appendAmazon appends a message to dst. Headers are pairs of a name and a text.
func appendAmazon(dst []byte, headers [][2]string, payload []byte) []byte {
	var head []byte
	for _, h := range headers {
		head = append(head, byte(len(h[0])))
		head = append(head, h[0]...)
		head = append(head, amazonTextValue)
		head = binary.BigEndian.AppendUint16(head, uint16(len(h[1])))
		head = append(head, h[1]...)
	}

	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(preludeLength+len(head)+len(payload)+trailerLength))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(head)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	dst = append(append(dst, head...), payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}
