-- Shipping coupons are fixed once they are out.
ALTER POLICY members_change ON coupons
  USING (kind <> 'shipping'
         AND EXISTS (SELECT FROM account_users au WHERE au.user_id = shop_user() AND account_id = au.account_id));
