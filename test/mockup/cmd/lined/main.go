// Command lined is the shared service of varda in the mock-up: it appends each line that it gets to a file, and gives it back when it is on the disk. It
// runs inside a guest.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
)

func main() {
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "lined:", err)
		os.Exit(1)
	}
}

func serve(address, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			take(c, f)
		}()
	}
}

// take is one connection. An empty line asks only whether somebody is there.
func take(c net.Conn, f *os.File) {
	for lines := bufio.NewScanner(c); lines.Scan(); {
		said := "hello"
		if line := lines.Text(); line != "" {
			if _, err := fmt.Fprintln(f, line); err != nil {
				return
			}
			if err := f.Sync(); err != nil {
				return
			}
			said = line
		}
		if _, err := fmt.Fprintln(c, said); err != nil {
			return
		}
	}
}
