//go:build unix

package relayapi

import "syscall"

// knowsSilence tells whether an idle connection can be asked if something has come.
const knowsSilence = true

// isSilent reports whether nothing has come on an idle connection: neither its end
// nor something that no request has asked for. It asks the system and does not
// wait.
func (c *directConn) isSilent() bool {
	c.silent = false
	return c.raw.Read(c.look) == nil && c.silent
}

func (c *directConn) lookAt(fd uintptr) bool {
	var one [1]byte
	_, err := syscall.Read(int(fd), one[:])
	c.silent = err == syscall.EAGAIN
	return true // there is no need to wait and look again
}
