// Package ucarp reads how ucarp 1.5 was configured (command lines, shell-like files of init scripts) and writes it as a kvmha.toml; nothing of what it reads is executed.
package ucarp
