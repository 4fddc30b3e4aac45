// For tests only: what takes orders, without the HTTP in front of it.
export { OrderBook } from "./order-book.ts";
export { Orders } from "./orders.ts";
