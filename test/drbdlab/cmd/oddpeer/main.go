// Command oddpeer listens like a DRBD that speaks none of the protocol versions of any real one: `oddpeer 10.91.0.2:7788`. It answers until it is killed.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
)

// Of drivers/block/drbd/drbd_protocol.h: the header that opens a connection, and the packet in which each side says which versions it speaks.
const (
	magic     = 0x83740267
	features  = 0xfffe
	headerLen = 8
	bodyLen   = 72
	oldest    = 40
	newest    = 50
)

func main() {
	fmt.Fprintln(os.Stderr, "oddpeer:", serve(os.Args[1]))
	os.Exit(1)
}

// serve ends only by an error.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go answer(c)
	}
}

// answer takes packets of one connection, and answers a word about versions with another. A peer that goes ends it.
func answer(c net.Conn) {
	defer c.Close()
	for {
		var head [headerLen]byte
		if _, err := io.ReadFull(c, head[:]); err != nil || binary.BigEndian.Uint32(head[:]) != magic {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[6:]))); err != nil {
			return
		}
		if binary.BigEndian.Uint16(head[4:]) != features {
			continue
		}
		packet := make([]byte, headerLen+bodyLen)
		binary.BigEndian.PutUint32(packet, magic)
		binary.BigEndian.PutUint16(packet[4:], features)
		binary.BigEndian.PutUint16(packet[6:], bodyLen)
		binary.BigEndian.PutUint32(packet[8:], oldest)
		binary.BigEndian.PutUint32(packet[16:], newest)
		if _, err := c.Write(packet); err != nil {
			return
		}
	}
}
