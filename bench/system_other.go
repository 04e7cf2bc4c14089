//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

var errNotLinux = errors.New("CPU and memory are read in ways that only Linux has")

func dieWithParent() *syscall.SysProcAttr { return nil }

func openFiles(uint64) (uint64, error) {
	return 0, errNotLinux
}

func cpuOf(int) (time.Duration, error) { return 0, errNotLinux }
