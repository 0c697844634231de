# Two boot sectors that need nothing but a BIOS. The first is a CD's (El Torito, no emulation, 2048 bytes): it "installs" by writing the
# second to the first disk, says so on the serial port, and resets the machine. The second says that the disk was booted.
	.code16
	.text
	.globl _start
_start:	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp
	sti
	movw $booted, %si
	call say
	movw $0x0301, %ax	# write one sector
	movw $disk, %bx
	movw $0x0001, %cx	# cylinder 0, sector 1
	movw $0x0080, %dx	# the first disk
	int $0x13
	movw $failed, %si
	jc 1f
	movw $installed, %si
1:	call say
	movw $0xcf9, %dx	# the chipset's reset control
	movb $0x06, %al
	outb %al, %dx
2:	hlt
	jmp 2b

say:	lodsb
	testb %al, %al
	jz 4f
	movb %al, %ah
	movw $0x3fd, %dx
3:	inb %dx, %al
	testb $0x20, %al	# the transmitter is empty
	jz 3b
	movb %ah, %al
	movw $0x3f8, %dx
	outb %al, %dx
	jmp say
4:	ret

booted:	.asciz "the CD was booted\r\n"
installed: .asciz "installed\r\n"
failed:	.asciz "the disk cannot be written\r\n"

	.org 512
disk:	# runs at 0x7c00, too: all its addresses are relative to that
	cli
	xorw %ax, %ax
	movw %ax, %ds
	movw $(0x7c00 + text - disk), %si
5:	lodsb
	testb %al, %al
	jz 7f
	movb %al, %ah
	movw $0x3fd, %dx
6:	inb %dx, %al
	testb $0x20, %al
	jz 6b
	movb %ah, %al
	movw $0x3f8, %dx
	outb %al, %dx
	jmp 5b
7:	hlt
	jmp 7b
text:	.asciz "the disk was booted\r\n"
	.org 1022
	.word 0xaa55
	.org 2048
