package vm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// QMP wants the types of qapi where the command line takes words: these keys are no strings.
var (
	intKeys  = []string{"scsi-id", "vectors", "queues", "bootindex", "host_mtu"}
	boolKeys = []string{"mq", "vhost"}
)

// deviceArgs turns the value of a -device option into device_add's arguments: a device that is plugged in is described by the same
// function as one of the start.
func deviceArgs(o *opt) map[string]any { return optArgs("driver", o) }

// netdevArgs does the same for -netdev and netdev_add.
func netdevArgs(o *opt) map[string]any { return optArgs("type", o) }

func optArgs(head string, o *opt) map[string]any {
	args := map[string]any{}
	for i, part := range splitOpt(o.String()) {
		key, value, ok := strings.Cut(part, "=")
		if i == 0 && !ok {
			key, value = head, part
		}
		args[key] = typed(key, value)
	}
	return args
}

func typed(key, value string) any {
	switch {
	case slices.Contains(boolKeys, key):
		return value == "on"
	case slices.Contains(intKeys, key):
		n, err := strconv.Atoi(value)
		if err != nil {
			panic(fmt.Sprintf("vm: %s=%s is no number", key, value)) // ours alone come here
		}
		return n
	}
	return value
}

// splitOpt takes an option's argument apart at its single commas; doubled ones become one.
func splitOpt(s string) []string {
	parts := strings.Split(strings.ReplaceAll(s, ",,", "\x00"), ",")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\x00", ",")
	}
	return parts
}
