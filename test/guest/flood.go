package guest

import "encoding/binary"

// floodEvents is a static ELF program that makes QEMU write ACPI_DEVICE_OST events as fast as it can: it tells the CPU
// hotplug controller (port 0xcd8 on q35, 0xaf00 on pc; QEMU's docs/specs/acpi_cpu_hotplug.rst) the status of an operation,
// again and again. QEMU limits the rate of other events a guest can cause, but not of this one, and it needs no device
// beyond the machine's own.
func floodEvents() []byte {
	code := []byte{
		0xb8, 172, 0, 0, 0, 0xbf, 3, 0, 0, 0, 0x0f, 0x05, // iopl(3)
		0x66, 0xba, 0xdd, 0x0c, 0xb0, 2, 0xee, // q35: outb(0xcdd, 2): data is now an _OST status
		0x66, 0xba, 0x05, 0xaf, 0xee, // pc: the same at 0xaf05
		0x66, 0xba, 0xe0, 0x0c, 0xee, // again: q35: outb(0xce0, 2): an event
		0x66, 0xba, 0x08, 0xaf, 0xee, // pc: the same at 0xaf08
		0xeb, 0xf4, // jmp again
	}
	const base, headers = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2)  // ET_EXEC
	b = le.AppendUint16(b, 62) // EM_X86_64
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+headers) // entry
	b = le.AppendUint64(b, 64)           // program headers
	b = le.AppendUint64(b, 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} { // sizes and counts of headers
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // readable, executable
	for _, v := range []uint64{0, base, base, uint64(headers + len(code)), uint64(headers + len(code)), 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...)
}
