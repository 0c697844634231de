package netbridge_test

import (
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// asEnv makes the test binary play another process: its value says which.
const asEnv = "NETBRIDGE_TEST_AS"

func TestMain(m *testing.M) {
	switch as := os.Getenv(asEnv); as {
	case "":
		os.Exit(m.Run())
	case "holder": // of file descriptors, until it is killed or its stdin ends
		fmt.Println("ready")
		io.Copy(io.Discard, os.Stdin)
	default: // a stranger, who takes a queue of the TAP of that name with an open TUN device
		req, err := unix.NewIfreq(as)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
			err = unix.IoctlIfreq(3, unix.TUNSETIFF, req)
		}
		fmt.Println("attach:", err)
	}
}
