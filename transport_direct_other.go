//go:build !unix

package relayapi

// knowsSilence tells whether an idle connection can be asked if something has come.
const knowsSilence = false

func (c *directConn) isSilent() bool { return false }

func (c *directConn) lookAt(uintptr) bool { return true }
