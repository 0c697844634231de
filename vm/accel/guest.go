package accel

import (
	"bytes"
	"encoding/binary"
)

// The throw-away guest: guestSize bytes of memory at guest physical address 0, which the page tables map one to one.
const (
	guestSize  = 64 << 10
	pml4At     = 0x1000
	pdptAt     = 0x2000
	pdAt       = 0x3000
	resultAt   = 0x4000
	codeAt     = 0x8000
	turns      = 1_000_000
	answer     = 0x6b766d63_746c_2a2a // wider than 32 bits: only 64-bit code can have written it
	answerPort = 0x2a
)

// program counts to zero, stores answer at resultAt, sends its low byte to answerPort, and halts.
//
//	mov  ecx, turns
//	1: dec ecx
//	jnz  1b
//	mov  rax, answer
//	mov  [resultAt], rax
//	out  answerPort, al
//	hlt
func program(turns uint32) []byte {
	var b bytes.Buffer
	imm := func(v any) { binary.Write(&b, binary.LittleEndian, v) } // a Buffer takes every write
	b.WriteByte(0xb9)
	imm(turns)
	b.Write([]byte{0xff, 0xc9, 0x75, 0xfc, 0x48, 0xb8})
	imm(uint64(answer))
	b.Write([]byte{0x48, 0x89, 0x04, 0x25})
	imm(uint32(resultAt))
	b.Write([]byte{0xe6, answerPort, 0xf4})
	return b.Bytes()
}

// haltedAt is the guest's instruction pointer after the program's hlt.
func haltedAt() uint64 { return codeAt + uint64(len(program(0))) }

// fill writes the page tables and the program into the guest's memory. One 2 MiB page maps more than there is; the
// program touches none of the rest.
func fill(mem []byte, code []byte) {
	const presentWritable, largePage = 0x3, 0x80
	binary.LittleEndian.PutUint64(mem[pml4At:], pdptAt|presentWritable)
	binary.LittleEndian.PutUint64(mem[pdptAt:], pdAt|presentWritable)
	binary.LittleEndian.PutUint64(mem[pdAt:], 0|presentWritable|largePage)
	copy(mem[codeAt:], code)
}

// longMode turns the registers of a CPU after reset into those of one in 64-bit mode on the page tables of fill
// (Intel SDM volume 3, 10.8.5; the task register and LDT keep their reset values, which VM entry accepts).
func longMode(s *sregs) {
	const (
		cr0PE, cr0MP, cr0ET, cr0NE, cr0PG = 1 << 0, 1 << 1, 1 << 4, 1 << 5, 1 << 31
		cr4PAE                            = 1 << 5
		eferLME, eferLMA                  = 1 << 8, 1 << 10
	)
	s.CR0 = cr0PE | cr0MP | cr0ET | cr0NE | cr0PG
	s.CR3 = pml4At
	s.CR4 = cr4PAE
	s.EFER = eferLME | eferLMA
	code := segment{Limit: 0xffffffff, Selector: 8, Type: 11, Present: 1, S: 1, L: 1, G: 1}
	data := segment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, DB: 1, S: 1, G: 1}
	s.CS = code
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
}
