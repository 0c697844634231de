// Package right keeps and decides a node's right to be alone: whether it may write a group's data while its peer cannot be asked.
package right
